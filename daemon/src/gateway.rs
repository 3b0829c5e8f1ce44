//! The page: every chart live in a browser, and the latency figures; and Prometheus text at `/metrics`.
//!
//! It reads shared memory as any client does and cannot disturb the hot threads. Each browser asks for the next
//! frame when it has shown the last, so a slow one gets fewer frames and never a backlog. Requests must name a
//! loopback host unless the page was opened to the network: a web site cannot read it by rebinding a name.

use crate::control::Exports;
use crate::packing::Packing;
use crate::render::Export;
use crate::report;
use anyhow::Context;
use encode::Format;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use shm::frame::FrameReader;
use shm::status::StatusReader;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// The most connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// How often a waiting request looks for its frame, and so the most frames a second a browser gets.
const LOOK: Duration = Duration::from_millis(25);
/// How long a request waits for a frame before it is told to ask again.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

struct Gateway {
    status: StatusReader,
    exports: RefCell<watch::Receiver<Rc<Exports>>>,
    charts: RefCell<Rc<Charts>>,
    /// Whether any host name will do.
    open: bool,
}

/// The charts of one configuration, by place.
type Charts = Vec<(String, Arc<Packing>)>;
type Answer = Response<Full<Bytes>>;

/// Serves for ever, on a [`tokio::task::LocalSet`].
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    mut exports: watch::Receiver<Rc<Exports>>,
) -> anyhow::Result<()> {
    let open = !listener.local_addr()?.ip().is_loopback();
    let current = exports.borrow_and_update().clone();
    let status = StatusReader::open(current.status.try_clone()?)?;
    let charts = RefCell::new(Rc::new(charts(&current)?));
    let gateway = Rc::new(Gateway { status, exports: RefCell::new(exports), charts, open });
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed, so a seat always comes.
        let seat = seats.clone().acquire_owned().await.context("no seat")?;
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await; // Out of descriptors, most likely.
            continue;
        };
        let gateway = gateway.clone();
        tokio::task::spawn_local(async move {
            let _seat = seat;
            let service = service_fn(|request| {
                let gateway = gateway.clone();
                async move { Ok::<_, std::convert::Infallible>(gateway.answer(request).await) }
            });
            // An error here is a browser that went away.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(30))
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Maps what a configuration exports.
fn charts(exports: &Exports) -> anyhow::Result<Charts> {
    let chart = |export: &Export| {
        let [control, pixels] = &export.segments;
        let reader = FrameReader::open(control.try_clone()?, pixels.try_clone()?)?;
        Ok((export.name.clone(), Arc::new(Packing::new(reader))))
    };
    exports.charts.iter().map(chart).collect()
}

impl Gateway {
    /// The charts of the configuration that is in force.
    fn charts(&self) -> Rc<Charts> {
        let mut exports = self.exports.borrow_mut();
        if exports.has_changed().unwrap_or(false) {
            let current = exports.borrow_and_update().clone();
            match charts(&current) {
                Ok(charts) => *self.charts.borrow_mut() = Rc::new(charts),
                Err(error) => tracing::warn!("the page keeps the old charts: {error:#}"),
            }
        }
        self.charts.borrow().clone()
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if !self.open && !names_loopback(request.headers().get(HOST)) {
            return text(StatusCode::FORBIDDEN, "this page is served to this machine only\n".into());
        }
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served\n".into());
        }
        let path = request.uri().path();
        match path {
            "/" => typed("text/html; charset=utf-8", include_str!("page.html").into()),
            "/metrics" => {
                typed("text/plain; version=0.0.4", report::prometheus(&self.status).into_bytes().into())
            }
            "/api/stats" => {
                let mut figures = report::figures(&self.status);
                // With the generation, it tells a page whether its list of charts may be old.
                figures.insert("pid".into(), self.status.liveness().pid.into());
                json_answer(&figures.into())
            }
            "/api/charts" => {
                let chart = |(name, packing): &(String, Arc<Packing>)| {
                    let header = packing.reader().header();
                    json!({"name": name, "width": header.width, "height": header.height})
                };
                json_answer(&self.charts().iter().map(chart).collect())
            }
            _ => match path.strip_prefix("/frame/").and_then(|place| place.parse::<usize>().ok()) {
                Some(place) if place < self.charts().len() => {
                    let after = parameter(&request, "after").and_then(|number| number.parse().ok());
                    match parameter(&request, "format").unwrap_or("png").parse() {
                        Ok(format) => self.frame(place, after.unwrap_or(0), format).await,
                        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
                    }
                }
                _ => text(StatusCode::NOT_FOUND, "there is nothing here; the page is at /\n".into()),
            },
        }
    }

    /// The first frame that is not number `after`.
    async fn frame(&self, place: usize, after: u64, format: Format) -> Answer {
        let packing = self.charts()[place].1.clone();
        let reader = packing.reader();
        let deadline = tokio::time::Instant::now() + LONGEST_WAIT;
        // Any other number will do: one that is ahead of ours is of a former daemon.
        while reader.latest() == after && reader.is_current() {
            if tokio::time::Instant::now() >= deadline {
                return text(StatusCode::NO_CONTENT, String::new());
            }
            tokio::time::sleep(LOOK).await;
        }
        // Copying and packing take milliseconds: not on the thread that answers everybody.
        let packed = tokio::task::spawn_blocking(move || packing.latest(format)).await;
        match packed {
            Ok(Some((number, file))) => {
                let mut answer = typed(format.mime(), file);
                answer.headers_mut().insert("x-frame", HeaderValue::from(number));
                answer
            }
            _ => text(StatusCode::SERVICE_UNAVAILABLE, "the frame was overtaken; try again\n".into()),
        }
    }
}

/// What the request's query says of `name`.
fn parameter<'a>(request: &'a Request<Incoming>, name: &str) -> Option<&'a str> {
    let mut pairs = request.uri().query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}

fn names_loopback(host: Option<&HeaderValue>) -> bool {
    let Some(host) = host.and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn typed(kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn json_answer(value: &serde_json::Value) -> Answer {
    typed("application/json", value.to_string().into())
}

fn text(status: StatusCode, body: String) -> Answer {
    let mut answer = typed("text/plain; charset=utf-8", body.into());
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_served() {
        for (host, served) in [
            ("127.0.0.1:8080", true),
            ("localhost", true),
            ("[::1]:8080", true),
            ("evil.example:8080", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            assert_eq!(names_loopback(Some(&HeaderValue::from_static(host))), served, "{host}");
        }
        assert!(!names_loopback(None));
    }
}
