//! What holds for any input, said once: the properties and the fuzz targets feed it.

pub(crate) mod centrifuge;
pub(crate) mod delta;
pub(crate) mod frame;
pub(crate) mod json;
