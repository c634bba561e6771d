//! Azure OpenAI: OpenAI's requests at a deployment's address, e.g. `https://NAME.openai.azure.com`.

use super::{Provider, openai};
use crate::dispatch::Auth;

/// The version of the API that is asked for.
const API_VERSION: &str = "2024-10-21";

pub(super) static AZURE_OPENAI: Provider = Provider {
    base_url: "",
    api_key_env: "AZURE_OPENAI_API_KEY",
    auth: Auth::Header("api-key"),
    url: |base, deployment| {
        format!("{base}/openai/deployments/{deployment}/embeddings?api-version={API_VERSION}")
    },
    ..openai::OPENAI
};
