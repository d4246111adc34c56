//! Specs after patches.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

const ARN: &str = "arn:aws:ssm:us-east-1:123456789012:parameter/k";

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn a_patch_changes_what_it_names_and_keeps_the_rest() {
    let spec: Spec = serde_json::from_value(json!({
        "size": {"cpu": 512, "memory_mib": 2048}, "image": "openclaw:1", "sign_in": "chatgpt",
        "secrets": {"K": "arn:aws:ssm:us-east-1:123456789012:parameter/k"}, "from_the_future": [1]
    }))
    .unwrap();
    let unpinned = spec.clone().patched(&SpecPatch { image: Some(None), ..SpecPatch::default() }).unwrap();
    assert_eq!(unpinned, Spec { image: None, ..spec.clone() });
    assert_eq!(spec.clone().patched(&SpecPatch::default()).unwrap(), spec);
    assert_eq!(serde_json::to_value(&spec).unwrap()["from_the_future"], json!([1]));
}

#[test]
fn one_name_cannot_be_variable_and_secret() {
    let patch = SpecPatch {
        variables: Some(Variables::parse(map(&[("K", "v")])).unwrap()),
        secrets: Some(secrets(&["K"])),
        has_auth: true,
        ..SpecPatch::default()
    };
    assert_eq!(Spec::of_new_user(&patch).unwrap_err().field(), "secrets.K");
}

fn secrets(names: &[&str]) -> Secrets {
    Secrets::parse(map(&names.iter().map(|name| (*name, ARN)).collect::<Vec<_>>())).unwrap()
}

fn provider(provider: Provider, names: &[&str]) -> SpecPatch {
    let secrets = (!names.is_empty()).then(|| secrets(names));
    SpecPatch { provider: Some(provider), secrets, ..SpecPatch::default() }
}

fn names(spec: &Spec) -> Vec<&str> {
    spec.secrets.iter().map(|(name, _)| name).collect()
}

fn refused_new(patch: &SpecPatch) -> String {
    Spec::of_new_user(patch).unwrap_err().field().to_owned()
}

fn refused(spec: Spec, patch: &SpecPatch) -> String {
    spec.patched(patch).unwrap_err().field().to_owned()
}

#[test]
fn a_new_user_needs_what_their_provider_needs() {
    let signed_in = SpecPatch { has_auth: true, ..SpecPatch::default() };
    assert_eq!(Spec::of_new_user(&signed_in).unwrap().provider, Provider::Chatgpt);
    assert_eq!(refused_new(&SpecPatch::default()), "auth");
    assert_eq!(refused_new(&provider(Provider::Chatgpt, &[])), "auth");
    for (kind, key) in [(Provider::OpenaiKey, "OPENAI_API_KEY"), (Provider::AnthropicKey, "ANTHROPIC_API_KEY")] {
        assert_eq!(refused_new(&provider(kind, &["OTHER"])), format!("secrets.{key}"));
        let spec = Spec::of_new_user(&provider(kind, &[key])).unwrap();
        assert_eq!((spec.provider, names(&spec)), (kind, vec![key]));
        let both = SpecPatch { has_auth: true, ..provider(kind, &[key]) };
        assert_eq!(refused_new(&both), "auth");
    }
    let bedrock = Spec::of_new_user(&provider(Provider::Bedrock, &[])).unwrap();
    assert_eq!(bedrock.provider, Provider::Bedrock);
}

#[test]
fn a_new_provider_removes_the_key_of_the_previous_one() {
    let openai = Spec::of_new_user(&provider(Provider::OpenaiKey, &["OPENAI_API_KEY", "OTHER"])).unwrap();
    // Other patches keep the provider and its key; a set of secrets without the key is refused.
    assert_eq!(openai.clone().patched(&SpecPatch::default()).unwrap(), openai);
    let without = SpecPatch { secrets: Some(secrets(&["OTHER"])), ..SpecPatch::default() };
    assert_eq!(refused(openai.clone(), &without), "secrets.OPENAI_API_KEY");

    let bedrock = openai.clone().patched(&provider(Provider::Bedrock, &[])).unwrap();
    assert_eq!(names(&bedrock), ["OTHER"]);
    let kept = openai.clone().patched(&provider(Provider::Bedrock, &["OPENAI_API_KEY"])).unwrap();
    assert_eq!(names(&kept), ["OPENAI_API_KEY"]);
    assert_eq!(refused(openai.clone(), &provider(Provider::AnthropicKey, &[])), "secrets.ANTHROPIC_API_KEY");
    assert_eq!(refused(openai.clone(), &provider(Provider::Chatgpt, &[])), "auth");
    let signed_in = SpecPatch { has_auth: true, ..provider(Provider::Chatgpt, &[]) };
    let chatgpt = openai.patched(&signed_in).unwrap();
    assert_eq!((chatgpt.provider, names(&chatgpt)), (Provider::Chatgpt, vec!["OTHER"]));
    // A key that a ChatGPT user already had for something else is enough.
    let with_key = Spec { secrets: secrets(&["OPENAI_API_KEY"]), ..chatgpt };
    assert_eq!(names(&with_key.patched(&provider(Provider::OpenaiKey, &[])).unwrap()), ["OPENAI_API_KEY"]);
}

#[test]
fn specs_and_requests_use_the_same_provider_names() {
    for kind in Provider::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
    let written_before: Spec = serde_json::from_value(json!({})).unwrap();
    assert_eq!(written_before.provider, Provider::Chatgpt);
}

#[test]
fn a_release_that_was_given_for_an_image_is_dropped_with_it() {
    let version = Some(OpenClawVersion::new(2026, 5, 7));
    let pin = |text: &str| Some(Some(ImageRef::parse(text, "image").unwrap()));
    let said = SpecPatch { openclaw_version: version, image: pin("o:mine"), has_auth: true, ..SpecPatch::default() };
    let spec = Spec::of_new_user(&said).unwrap();
    assert_eq!(serde_json::to_value(&spec).unwrap()["openclaw_version"], "2026.5.7");
    let version_after = |image| {
        let patch = SpecPatch { image, ..SpecPatch::default() };
        spec.clone().patched(&patch).unwrap().openclaw_version
    };
    assert_eq!([version_after(None), version_after(pin("o:mine"))], [version, version]);
    assert_eq!([version_after(pin("o:other")), version_after(Some(None))], [None, None]);
}
