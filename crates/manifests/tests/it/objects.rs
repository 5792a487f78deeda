//! The objects of an overlay, as `kubectl kustomize` renders it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_norway::Value;

/// What people apply, and each component on top where it is in none.
pub(crate) static VARIANTS: LazyLock<[Variant; 4]> = LazyLock::new(|| {
    run(&mut Command::new(root().join("scripts/secrets")));
    [
        Variant::of("local", "k8s"),
        Variant::of("production", "k8s/overlays/production"),
        Variant::with(
            "production with an external Redis",
            "k8s/overlays/production",
            "external-redis",
        ),
        Variant::with(
            "production with the server API",
            "k8s/overlays/production",
            "server-api",
        ),
    ]
});

pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) objects: Vec<Value>,
}

impl Variant {
    fn of(name: &'static str, directory: &str) -> Self {
        Self {
            name,
            objects: render(&root().join(directory)),
        }
    }

    fn with(name: &'static str, overlay: &str, component: &str) -> Self {
        let directory = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        // kustomize takes no absolute path.
        let up = "../".repeat(
            directory
                .path()
                .strip_prefix(root())
                .expect("below")
                .components()
                .count(),
        );
        let text =
            format!("namespace: fanfare\nresources: [{up}{overlay}]\ncomponents: [{up}k8s/components/{component}]\n");
        std::fs::write(directory.path().join("kustomization.yaml"), text).expect("written");
        Self {
            name,
            objects: render(directory.path()),
        }
    }

    /// Every object of a kind.
    pub(crate) fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> + 'a {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// The object of a kind with that name.
    #[track_caller]
    pub(crate) fn one(&self, kind: &str, name: &str) -> &Value {
        self.find(kind, name)
            .unwrap_or_else(|| panic!("{}: no {kind} {name}", self.name))
    }

    pub(crate) fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.objects
            .iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    /// What the pods of an object that has some are like: its name and their template.
    pub(crate) fn templates(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.objects
            .iter()
            .filter(|object| !object["spec"]["template"].is_null())
            .map(|object| (name(object), &object["spec"]["template"]))
    }
}

pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("a name")
}

/// Several objects in one text.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    use serde::Deserialize;
    serde_norway::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .filter(|object| !object.is_null())
        .collect()
}

pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).expect("the workspace").to_owned()
}

pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/test --install installs it"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn render(directory: &Path) -> Vec<Value> {
    objects(&run(Command::new("kubectl").arg("kustomize").arg(directory)))
}
