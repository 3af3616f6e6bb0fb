//! Routes other than those of one key: what they have in common, and the documents a node gives about itself.

use ringfort_types::request::ReadyCheck;
use ringfort_types::{Code, Refusal};
use serde::Serialize;

use super::body::Body;
use super::call::Call;
use super::head::Head;
use super::options::BuildInfo;
use super::query::Query;
use super::reply::{Content, Reply};
use super::route::Route;
use super::upload::Arriving;
use super::{HttpDoor, accept, batch, cluster, list};
use crate::Backend;

/// The API's own description.
pub const OPENAPI: &str = include_str!("openapi.json");

impl<B: Backend> HttpDoor<B> {
    /// Answers a request for anything but one key.
    pub(crate) async fn answer_rest(
        &self,
        call: &Call<'_>,
        route: Route<'_>,
        parameters: &[&'static str],
        body: &mut Arriving,
    ) -> Result<Reply, Refusal> {
        let backend = &*self.backend;
        match route {
            Route::List => return list::serve(backend, call, parameters, body).await,
            Route::Batch => return batch::serve(backend, call, parameters, body).await,
            _ => {}
        }
        let head = Head::parse(&call.parts.headers)?;
        head.refuse_identity()?;
        let query = Query::parse(call.parts.uri.query(), parameters)?;
        if let Route::Node(raw) | Route::Drain(raw) = route {
            return cluster::change(backend, call, raw, &head, body).await;
        }
        if route == Route::Init {
            return cluster::init(backend, call, &head, body).await;
        }
        body.expect_none(backend, call.deadline(&head)).await?;
        Ok(match route {
            Route::Live => Reply::json(&b"{\"live\":true}"[..]),
            Route::Ready => readiness(&backend.readiness().await),
            Route::Metrics => {
                let format = accept::metrics_format(&call.parts.headers);
                let text = backend.metrics(format).await;
                Reply::new(Content::Metrics(format), Body::Full(text.into()))
            }
            Route::OpenApi => Reply::json(OPENAPI),
            Route::Version => Reply::json(version(&self.options.build)),
            _ => cluster::read(backend, call, route, &query, &head).await?,
        })
    }
}

/// `{"ready":true,"checks":[…]}`, or a problem with the same two members.
fn readiness(checks: &[ReadyCheck]) -> Reply {
    #[derive(Serialize)]
    struct Check<'a> {
        name: &'a str,
        ok: bool,
        detail: &'a str,
    }

    let ready = checks.iter().all(|check| check.ok);
    let failed = checks.iter().filter(|check| !check.ok).map(|check| check.name);
    let failed = failed.collect::<Vec<_>>().join(", ");
    let checks: Vec<_> = checks
        .iter()
        .map(|check| Check { name: check.name, ok: check.ok, detail: &check.detail })
        .collect();
    let checks = serde_json::to_string(&checks).unwrap_or_default();
    if ready {
        return Reply::json(format!("{{\"ready\":true,\"checks\":{checks}}}"));
    }
    let refusal = Refusal::new(Code::Unavailable, format!("not ready: {failed}"));
    let members = format!(",\"ready\":false,\"checks\":{checks}");
    Reply::refusal(&refusal, members.as_bytes())
}

fn version(build: &BuildInfo) -> Vec<u8> {
    let document = serde_json::json!({
        "name": "ringfort",
        "version": build.version,
        "revision": build.revision,
        "target": build.target,
    });
    document.to_string().into_bytes()
}
