//! Every object by the type that Kubernetes has for it: no field that it does not know, none of another type.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::de::DeserializeOwned;
use serde_norway::{Mapping, Value};

use crate::objects::{VARIANTS, name};

/// What is wrong with an object.
fn mistakes(object: &Value) -> Vec<String> {
    match object["kind"].as_str().expect("a kind") {
        "ConfigMap" => read::<ConfigMap>(object),
        "Deployment" => read::<Deployment>(object),
        "HorizontalPodAutoscaler" => read::<HorizontalPodAutoscaler>(object),
        "Namespace" => read::<Namespace>(object),
        "NetworkPolicy" => read::<NetworkPolicy>(object),
        "PodDisruptionBudget" => read::<PodDisruptionBudget>(object),
        "Secret" => read::<Secret>(&unwrapped(object)),
        "Service" => read::<Service>(object),
        "ServiceAccount" => read::<ServiceAccount>(object),
        "StatefulSet" => read::<StatefulSet>(object),
        kind => vec![format!("a bare cluster may not know {kind}")],
    }
}

/// A Secret with its data in one line each: kustomize breaks them, and Kubernetes does not mind.
fn unwrapped(secret: &Value) -> Value {
    let mut secret = secret.clone();
    for value in secret["data"]
        .as_mapping_mut()
        .into_iter()
        .flat_map(Mapping::values_mut)
    {
        if let Value::String(text) = value {
            text.retain(|character| !character.is_ascii_whitespace());
        }
    }
    secret
}

fn read<T: DeserializeOwned>(object: &Value) -> Vec<String> {
    let mut mistakes = Vec::new();
    let read: Result<T, _> = serde_ignored::deserialize(object, |path| mistakes.push(format!("unknown: {path}")));
    mistakes.extend(read.err().map(|error| error.to_string()));
    mistakes
}

#[test]
fn every_object_is_what_kubernetes_expects() {
    for variant in VARIANTS.iter() {
        for object in &variant.objects {
            assert_eq!(
                mistakes(object),
                [""; 0],
                "{}: {} {}",
                variant.name,
                object["kind"].as_str().expect("a kind"),
                name(object)
            );
        }
    }
}

#[test]
fn a_planted_mistake_is_found_in_every_kind() {
    for object in VARIANTS.iter().flat_map(|variant| &variant.objects) {
        let place = if object["spec"].is_mapping() {
            "spec"
        } else {
            "metadata"
        };
        let plant = |key: &str, value: Value| {
            let mut object = object.clone();
            let inside = object[place].as_mapping_mut().expect("a mapping");
            inside.insert(key.into(), value);
            mistakes(&object)
        };
        let found = plant("nonsense", 1.into());
        assert!(
            found.len() == 1 && found[0].contains("nonsense"),
            "{}: {found:?}",
            name(object)
        );
        let mut labels = Mapping::new();
        labels.insert("a".into(), Value::Sequence(vec![]));
        let mut wrong = object.clone();
        wrong["metadata"]["labels"] = Value::Mapping(labels);
        assert_eq!(mistakes(&wrong).len(), 1, "{}", name(object));
    }
}
