//! b64encode, b64decode, hash and its short names.

use super::arguments::{Arguments, Given, string, wrong};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use minijinja::{Environment, Error, Value};
use sha2::Digest;

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("b64encode", b64encode);
    environment.add_filter("b64decode", b64decode);
    environment.add_filter("hash", |value: &Value, arguments: Given| {
        let arguments = Arguments::new(arguments, &["hashtype"])?;
        digest(&string(value)?, arguments.text("hashtype")?.as_deref().unwrap_or("sha1"))
    });
    environment.add_filter("md5", |value: &Value| digest(&string(value)?, "md5"));
    environment.add_filter("sha1", |value: &Value| digest(&string(value)?, "sha1"));
    environment.add_filter("checksum", |value: &Value| digest(&string(value)?, "sha1"));
}

fn options(arguments: Given) -> Result<bool, Error> {
    let arguments = Arguments::new(arguments, &["encoding", "urlsafe"])?;
    match arguments.text("encoding")?.map(|name| name.to_lowercase()).as_deref() {
        None | Some("utf-8" | "utf8" | "ascii") => Ok(arguments.flag("urlsafe")),
        Some(other) => Err(wrong(format!("the encoding `{other}` is not supported; only utf-8 is"))),
    }
}

fn b64encode(value: &Value, arguments: Given) -> Result<String, Error> {
    let text = string(value)?;
    Ok(if options(arguments)? { URL_SAFE.encode(text) } else { STANDARD.encode(text) })
}

fn b64decode(value: &Value, arguments: Given) -> Result<String, Error> {
    let text: String = string(value)?.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = if options(arguments)? { URL_SAFE.decode(text) } else { STANDARD.decode(text) };
    let bytes = bytes.map_err(|error| wrong(format!("not base64: {error}")))?;
    String::from_utf8(bytes).map_err(|_| wrong("the decoded bytes are not UTF-8 text"))
}

fn digest(text: &str, kind: &str) -> Result<String, Error> {
    fn hex<D: Digest>(text: &str) -> String {
        D::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
    Ok(match kind {
        "sha1" => hex::<sha1::Sha1>(text),
        "md5" => hex::<md5::Md5>(text),
        "sha224" => hex::<sha2::Sha224>(text),
        "sha256" => hex::<sha2::Sha256>(text),
        "sha384" => hex::<sha2::Sha384>(text),
        "sha512" => hex::<sha2::Sha512>(text),
        other => {
            return Err(wrong(format!(
                "unknown hash `{other}`; there are md5, sha1, sha224, sha256, sha384 and sha512"
            )));
        }
    })
}
