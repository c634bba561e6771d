//! Which addresses providers may have: a definition that names a URL must not reach what only this machine or its
//! network can.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::ValueEnum;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::Deserialize;

/// The environment variables that hold providers' keys by convention.
pub const KEY_VARIABLES: [&str; 7] = [
    "AZURE_OPENAI_API_KEY",
    "COHERE_API_KEY",
    "GEMINI_API_KEY",
    "JINA_API_KEY",
    "MISTRAL_API_KEY",
    "OPENAI_API_KEY",
    "VOYAGE_API_KEY",
];

/// What definitions may make gleaner reach: whoever creates collections says where keys are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderAccess {
    /// How near providers may be.
    pub network: Network,
    /// The environment variables that may be sent as keys.
    pub key_env: Vec<String>,
    /// The folder of files with their keys; `None`: keys are in the environment only.
    pub keys_dir: Option<PathBuf>,
}

impl Default for ProviderAccess {
    fn default() -> Self {
        let key_env = KEY_VARIABLES.map(String::from).to_vec();
        ProviderAccess { network: Network::default(), key_env, keys_dir: None }
    }
}

/// How near providers may be. Each includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Public addresses over https
    Public,
    /// This machine too, also over http
    #[default]
    Loopback,
    /// Private networks too, also over http
    Private,
}

/// Where an address lies; `None`: nobody is to be asked there (link-local, metadata services, multicast, …).
fn place(ip: IpAddr) -> Option<Network> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => place_v4(ip),
        IpAddr::V6(ip) => place_v6(ip),
    }
}

fn place_v4(ip: Ipv4Addr) -> Option<Network> {
    let [a, b, ..] = ip.octets();
    // metadata and host services of clouds that do not use link-local addresses
    let metadata = [[100, 100, 100, 200], [168, 63, 129, 16], [192, 0, 0, 192]];
    match ip {
        _ if ip.is_loopback() => Some(Network::Loopback),
        _ if metadata.contains(&ip.octets()) || ip.is_link_local() || a == 0 || a >= 224 => None,
        _ if ip.is_private() || (a == 100 && (64..128).contains(&b)) => Some(Network::Private),
        _ => Some(Network::Public),
    }
}

fn place_v6(ip: Ipv6Addr) -> Option<Network> {
    let segments = ip.segments();
    match segments {
        _ if ip.is_loopback() => Some(Network::Loopback),
        _ if ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local() => None,
        [0xfd00, 0x0ec2, ..] => None,
        _ if ip.is_unique_local() => Some(Network::Private),
        // an IPv4 address behind a translator
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            place_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => Some(Network::Public),
    }
}

/// Checks a provider's URL as far as it can be without asking for the host's addresses; the error says what is wrong.
pub fn check_url(text: &str, network: Network) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "the URL holds a user or password: keys are given by `api_key_env` or `api_key_file`".into()
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("`{text}` has a query or fragment: give the address alone"));
    }
    let plain = match url.scheme() {
        "https" => false,
        "http" => true,
        _ => return Err(format!("`{text}` must begin with https:// or http://")),
    };
    let host = url.host_str().unwrap_or_default();
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => check_ip(ip, plain, network),
        Err(_) if plain && network == Network::Public => Err(too_near(host, Network::Loopback)),
        Err(_) => Ok(()), // its addresses are checked whenever it is connected to
    }
}

fn check_ip(ip: IpAddr, plain: bool, network: Network) -> Result<(), String> {
    match place(ip) {
        None => {
            Err(format!("{ip} is an address that no provider can have (link-local, metadata or multicast)"))
        }
        Some(Network::Public) if plain => Err(format!(
            "{ip} is a public address: only https:// keeps the key and the texts secret on the way"
        )),
        Some(place) if place > network => Err(too_near(&ip.to_string(), place)),
        Some(_) => Ok(()),
    }
}

fn too_near(host: &str, place: Network) -> String {
    let (what, setting) = match place {
        Network::Private => ("in a private network", "private"),
        _ => ("on this machine", "loopback"),
    };
    format!(
        "{host} is {what}: gleaner asks providers there only with the setting provider_network = \"{setting}\""
    )
}

/// Looks hosts up and lets only the allowed addresses through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolver {
    pub network: Network,
    /// For http: public addresses are refused.
    pub plain: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Resolver { network, plain } = *self;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let mut refusal = format!("{} has no address", name.as_str());
            let mut allowed = Vec::with_capacity(found.len());
            for address in found {
                match check_ip(address.ip(), plain, network) {
                    Ok(()) => allowed.push(address),
                    Err(reason) => refusal = format!("{}: {reason}", name.as_str()),
                }
            }
            if allowed.is_empty() {
                return Err(refusal.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_lets_its_addresses_through_and_none_the_dangerous_ones() {
        use Network::{Loopback, Private, Public};
        let least = |url: &str| [Public, Loopback, Private].into_iter().find(|n| check_url(url, *n).is_ok());
        for (url, network) in [
            ("https://api.openai.com/v1", Some(Public)),
            ("https://8.8.8.8", Some(Public)),
            ("https://[2606:4700::1111]:443/v1", Some(Public)),
            ("http://localhost:11434", Some(Loopback)),
            ("http://127.0.0.1:8080", Some(Loopback)),
            ("http://127.9.9.9", Some(Loopback)),
            ("http://[::1]:1", Some(Loopback)),
            ("http://[::ffff:127.0.0.1]", Some(Loopback)),
            ("http://0x7f.1:80", Some(Loopback)),
            ("http://2130706433", Some(Loopback)),
            ("https://10.0.0.5", Some(Private)),
            ("http://192.168.1.2", Some(Private)),
            ("http://172.31.0.1", Some(Private)),
            ("http://100.64.0.1", Some(Private)),
            ("http://[fd12::1]", Some(Private)),
            ("https://[64:ff9b::a00:1]", Some(Private)),
            ("http://8.8.8.8", None),
            ("http://169.254.169.254/latest", None),
            ("https://169.254.169.254", None),
            ("http://[fe80::1]", None),
            ("http://[fd00:ec2::254]", None),
            ("https://168.63.129.16", None),
            ("http://100.100.100.200", None),
            ("http://0.0.0.0:80", None),
            ("http://[::]", None),
            ("https://224.0.0.1", None),
            ("https://255.255.255.255", None),
            ("https://[64:ff9b::a9fe:a9fe]", None),
            ("https://user:secret@api.openai.com", None),
            ("https://api.openai.com/v1?key=secret", None),
            ("ftp://api.openai.com", None),
            ("api.openai.com", None),
            ("", None),
        ] {
            assert_eq!(least(url), network, "{url}: {:?}", check_url(url, Private));
        }
        let refusal = check_url("https://user:secret@api.openai.com", Private).unwrap_err();
        assert!(!refusal.contains("secret"), "{refusal}");
    }

    #[tokio::test]
    async fn names_are_looked_up_before_they_are_trusted() {
        let resolve = async |network, plain, name: &str| {
            let found = Resolver { network, plain }.resolve(name.parse().unwrap()).await;
            found.map(|addresses| addresses.count()).map_err(|error| error.to_string())
        };
        assert!(resolve(Network::Loopback, true, "localhost").await.unwrap() > 0);
        let refusal = resolve(Network::Public, false, "localhost").await.unwrap_err();
        assert!(refusal.contains("provider_network = \"loopback\""), "{refusal}");
    }
}
