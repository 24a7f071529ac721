//! An HTTP/1.1 client without TLS, over TCP or a Unix socket, for probes and the `uri` module.

mod client;
mod resolve;
mod response;
mod url;

pub use client::{Request, exchange};
pub use resolve::{Endpoint, Resolver, getent_addresses};
pub use response::{HttpError, Response, read_response};
pub use url::{Scheme, Url, UrlError};
