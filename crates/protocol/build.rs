//! Makes the types of the Centrifuge protocol from its schema, with what both encodings need to know.

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;

use prost_types::DescriptorProto;
use prost_types::field_descriptor_proto::Type;

const SCHEMA: &str = "src/dialect/centrifuge/schema.proto";

/// JSON fields that stand there with a zero value too, because client libraries read them without looking whether they are.
const ALWAYS: [&str; 8] = [
    "ClientInfo.user",
    "ClientInfo.client",
    "PresenceResult.presence",
    "PresenceStatsResult.num_clients",
    "PresenceStatsResult.num_users",
    "HistoryResult.publications",
    "HistoryResult.epoch",
    "HistoryResult.offset",
];

/// Lists of what is a map in JSON.
const MAPS: [&str; 2] = ["Connect.subs", "ConnectResult.subs"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={SCHEMA}");
    let schema = protox::compile([SCHEMA], ["src/dialect/centrifuge"])?;
    let mut config = prost_build::Config::new();
    config.bytes(["."]).btree_map(["."]);
    config.type_attribute(".", "#[derive(serde::Serialize)]");
    let mut objects = String::new();
    for message in schema.file.iter().flat_map(|file| &file.message_type) {
        if is_read(message) {
            write_object(message, &mut objects)?;
        }
        for field in &message.field {
            let name = format!("{}.{}", message.name(), field.name());
            if field.r#type() == Type::Bytes {
                config.field_attribute(&name, r#"#[serde(serialize_with = "super::raw_json")]"#);
            }
            if MAPS.contains(&name.as_str()) {
                config.field_attribute(&name, r#"#[serde(serialize_with = "super::by_channel")]"#);
            }
            if !ALWAYS.contains(&name.as_str()) {
                config.field_attribute(&name, r#"#[serde(skip_serializing_if = "super::is_zero")]"#);
            }
        }
    }
    config.compile_fds(schema)?;
    std::fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("objects.rs"), objects)?;
    Ok(())
}

/// Whether clients send it as a JSON object. Commands that come apart from their connection have another form in JSON.
fn is_read(message: &DescriptorProto) -> bool {
    let name = message.name();
    let is_request = name.ends_with("Request") && name != "EmulationRequest";
    is_request || ["Command", "StreamPosition", "FilterNode"].contains(&name)
}

/// How such an object is read, by the macro of `object.rs`.
fn write_object(message: &DescriptorProto, objects: &mut String) -> Result<(), std::fmt::Error> {
    writeln!(objects, "object!({} {{", message.name())?;
    for field in &message.field {
        let name = match field.name() {
            "type" => "r#type",
            name => name,
        };
        let how = match field.r#type() {
            Type::Bytes => "raw",
            _ => "value",
        };
        writeln!(objects, "    {name}: {how},")?;
    }
    writeln!(objects, "}});")
}
