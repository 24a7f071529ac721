//! An HTTP/1.1 client without TLS, over TCP or a Unix socket, for probes and the `uri` module.

mod client;
mod curl;
mod resolve;
mod response;
mod url;

pub use client::{Request, exchange};
pub use curl::curl;
pub use resolve::{Endpoint, Resolver, host_resolver};
pub use response::{HttpError, Response, read_response};
pub use url::{Scheme, Url, UrlError};

#[cfg(test)]
pub(crate) use client::tests::serve_once;
pub(crate) use client::{Stream, open};
