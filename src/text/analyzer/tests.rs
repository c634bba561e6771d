use super::*;

/// Tokens as text: wholes in brackets, stop words after a minus.
fn shown(analyzer: &mut TextAnalyzer, text: &str) -> String {
    let mut tokens = Tokens::default();
    analyzer.analyze(text, &mut tokens);
    let shown: Vec<String> = tokens
        .iter()
        .map(|(kind, token)| match kind {
            TokenKind::Word => token.to_owned(),
            TokenKind::Stop => format!("-{token}"),
            TokenKind::Whole => format!("[{token}]"),
        })
        .collect();
    shown.join(" ")
}

#[test]
fn default_tokens() {
    let mut analyzer = TextAnalyzer::for_queries(Analyzer::Default);
    for (text, expected) in [
        ("", ""),
        (" \n\t.,;!? --- ", ""),
        ("The quick foxes' running", "-the quick fox run"),
        ("What is John's name?", "-what -is john name"),
        ("don't we're L’avion", "dont -were l avion"),
        ("Ünïcödé ﬁne ＡＢＣ straße", "unicod fine abc strass"),
        (
            "snake_case kebab-case camelCase",
            "[snakecas] snake case [kebabcas] kebab case [camelcas] camel case",
        ),
        (
            "XMLHttpRequest getURL mRNA iPhone",
            "[xmlhttprequest] xml http request [geturl] get url mrna iphon",
        ),
        ("foo.bar() E0308", "[foo.bar] foo bar e0308"),
        ("IL-2 COVID-19 2024-01-02", "[il2] il 2 [covid19] covid 19 [2024-01-02] 2024 01 02"),
        ("v1.2.3 3.14", "[1.2.3] v1 2 3 [3.14] 3 14"),
        ("U.S.A. e.g.", "[usa] u s -a [eg] e g"),
        ("C++, C#; F# #1", "[c++] c [c#] c [f#] f 1"),
        ("https://a-b.com/x_y", "[https://ab.com/xy] https [ab.com] -a b com [xy] x y"),
        ("东京タワー", "东京 京タ タワ ワー"),
        ("茶 と 안녕하세요", "茶 と 안녕 녕하 하세 세요"),
        ("ｶﾞｷ", "ガキ"),
        ("Москва и ёлка", "москв и елк"),
        ("हिन्दी", "हिन्दी"),
        ("soft\u{ad}hyphen zero\u{200b}width", "softhyphen zero width"),
    ] {
        assert_eq!(shown(&mut analyzer, text), expected, "{text:?}");
    }
}

#[test]
fn what_is_remembered_is_what_was_computed() {
    let mut analyzer = TextAnalyzer::for_rows(Analyzer::Default);
    let text = "foo.bar the Foxes camelCase 东京 ภาษาไทย";
    let first = shown(&mut analyzer, text);
    assert_eq!(shown(&mut analyzer, text), first);
}

#[test]
fn vietnamese_keeps_its_tones_in_questions() {
    let text = "tiếng Việt Nam";
    assert_eq!(shown(&mut TextAnalyzer::for_queries(Analyzer::Default), text), "tiếng việt nam");
    let of_rows = "[tiếng] tieng [việt] viet nam";
    assert_eq!(shown(&mut TextAnalyzer::for_rows(Analyzer::Default), text), of_rows);
}

#[test]
fn languages_have_their_own_stems_and_stop_words() {
    for (analyzer, text, expected) in [
        (Analyzer::Plain, "the running foxes", "the running foxes"),
        (Analyzer::English, "the running foxes", "-the run fox"),
        (Analyzer::German, "die Häuser und das Haus", "-die haus -und -das haus"),
        (Analyzer::French, "les chevaux et la jument", "-le cheval -et -la jument"),
        (Analyzer::Russian, "и книги running", "-и книг run"),
    ] {
        assert_eq!(shown(&mut TextAnalyzer::for_queries(analyzer), text), expected, "{text:?}");
    }
}

#[test]
fn scripts_without_spaces_are_cut_into_words() {
    let mut analyzer = TextAnalyzer::for_rows(Analyzer::Default);
    let thai = shown(&mut analyzer, "ภาษาไทยง่าย");
    assert!(thai.split(' ').count() > 1 && thai.split(' ').any(|word| word == "ไทย"), "{thai}");
}
