//! How far a model can be trusted with a query: the dense leg's weight falls where the query is foreign to
//! the embedder.

use crate::embed::Model;

/// 1 where the model knows the query's script, down to 0 where it does not. A model for English reads Latin
/// script; of other scripts it sees unknown words and single characters, and its similarities there only
/// disturb a ranking by words.
pub fn familiarity(model: &Model, query: &str) -> f32 {
    if !model.english {
        return 1.0;
    }
    let (mut latin, mut letters) = (0u32, 0u32);
    for character in query.chars().filter(|character| character.is_alphabetic()) {
        letters += 1;
        latin += u32::from(is_latin(character));
    }
    if letters == 0 { 1.0 } else { (latin as f32 / letters as f32).powi(2) }
}

/// Latin letters, with the accented ones and the compatibility forms.
fn is_latin(character: char) -> bool {
    matches!(character, 'A'..='Z' | 'a'..='z' | '\u{aa}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' | '\u{ff21}'..='\u{ff5a}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_english_model_is_trusted_with_latin_script() {
        let mut model = Model {
            id: "m".into(),
            origin: String::new(),
            dimensions: 3,
            max_tokens: 10,
            dense_weight: 0.5,
            dense_floor: 0.0,
            english: true,
        };
        assert_eq!(familiarity(&model, "What is a façade?"), 1.0);
        assert_eq!(familiarity(&model, "404 !"), 1.0);
        assert_eq!(familiarity(&model, "什么是外观"), 0.0);
        assert!(familiarity(&model, "der Name Пушкин") < 0.7);
        model.english = false;
        assert_eq!(familiarity(&model, "什么是外观"), 1.0);
    }
}
