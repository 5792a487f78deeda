//! Makes the types of the Centrifuge protocol from its schema, with what both encodings need to know.

use std::error::Error;

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
    config.type_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)] #[serde(default)]");
    for message in schema.file.iter().flat_map(|file| &file.message_type) {
        for field in &message.field {
            let name = format!("{}.{}", message.name(), field.name());
            if field.r#type() == Type::Bytes {
                config.field_attribute(&name, r#"#[serde(with = "super::raw_json")]"#);
            }
            if MAPS.contains(&name.as_str()) {
                config.field_attribute(
                    &name,
                    r#"#[serde(serialize_with = "super::by_channel", skip_deserializing)]"#,
                );
            }
            if !ALWAYS.contains(&name.as_str()) {
                config.field_attribute(&name, r#"#[serde(skip_serializing_if = "super::is_zero")]"#);
            }
        }
    }
    config.compile_fds(schema)?;
    Ok(())
}
