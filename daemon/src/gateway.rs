//! The page: every chart live in a browser, and the latency figures; and Prometheus text at `/metrics`.
//!
//! It reads shared memory as any client does and cannot disturb the hot threads. Each browser asks for the next
//! frame when it has shown the last, so a slow one gets fewer frames and never a backlog. Requests must name a
//! loopback host unless the page was opened to the network: a web site cannot read it by rebinding a name.
//!
//! The page may adjust charts, as every client of the control socket may; nobody else may through a browser. So that
//! takes a loopback host always, and an origin that is this page.

use crate::control::Exports;
use crate::packing::Packing;
use crate::render::Export;
use crate::report;
use crate::wishes::WishError;
use anyhow::Context;
use encode::Format;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use shm::adjust::Adjustment;
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
        if request.method() == Method::POST
            && let Some(place) = request.uri().path().strip_prefix("/adjust/")
        {
            return self.adjust(request.headers(), place, request.uri().query().unwrap_or(""));
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

    /// Adjusts the chart at `place` as `query` says, if the page itself asks for it.
    fn adjust(&self, headers: &HeaderMap, place: &str, query: &str) -> Answer {
        if !comes_from_the_page(headers) {
            return text(
                StatusCode::FORBIDDEN,
                "only the page itself adjusts charts, from this machine\n".into(),
            );
        }
        let Ok(place) = place.parse::<usize>() else {
            return text(StatusCode::NOT_FOUND, "there is no such chart\n".into());
        };
        let Some(adjustment) = adjustment(query) else {
            let known = "use pan=BARS, zoom=STEPS or zoom=STEPS,X, point=X,Y, point=off or reset\n";
            return text(StatusCode::BAD_REQUEST, known.into());
        };
        let exports = self.exports.borrow().borrow().clone();
        let outcome = exports.wisher.borrow_mut().adjust(place, &adjustment.words());
        match outcome {
            Ok(_) => text(StatusCode::NO_CONTENT, String::new()),
            Err(error @ (WishError::TooMany | WishError::Full)) => {
                text(StatusCode::TOO_MANY_REQUESTS, format!("{error}\n"))
            }
            Err(error @ WishError::Chart(_)) => text(StatusCode::NOT_FOUND, format!("{error}\n")),
            Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
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

/// Whether a request was made by the page that this very server has served. Browsers say so, and no script can make
/// them lie; what says nothing is no browser, and has the control socket.
fn comes_from_the_page(headers: &HeaderMap) -> bool {
    let (host, origin) = (headers.get(HOST), headers.get(ORIGIN));
    let is_same = host.zip(origin).is_some_and(|(host, origin)| {
        origin.as_bytes().strip_prefix(b"http://").is_some_and(|origin| origin == host.as_bytes())
    });
    let site = headers.get("sec-fetch-site");
    names_loopback(host) && is_same && site.is_none_or(|site| site == "same-origin")
}

/// What the query of a request asks for.
fn adjustment(query: &str) -> Option<Adjustment> {
    let (what, value) = query.split_once('=').unwrap_or((query, ""));
    match (what, value, value.split_once(',')) {
        ("reset", "", _) => Some(Adjustment::Reset),
        ("pan", bars, _) => Some(Adjustment::Pan { bars: bars.parse().ok()? }),
        ("zoom", _, Some((steps, x))) => {
            Some(Adjustment::Zoom { steps: steps.parse().ok()?, x: Some(x.parse().ok()?) })
        }
        ("zoom", steps, None) => Some(Adjustment::Zoom { steps: steps.parse().ok()?, x: None }),
        ("point", "off", _) => Some(Adjustment::Pointer(None)),
        ("point", _, Some((x, y))) => Some(Adjustment::Pointer(Some((x.parse().ok()?, y.parse().ok()?)))),
        _ => None,
    }
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
    fn only_the_page_itself_adjusts_charts() {
        let page = ("127.0.0.1:8800", Some("http://127.0.0.1:8800"), Some("same-origin"));
        for (host, origin, site, allowed) in [
            (page.0, page.1, page.2, true),
            (page.0, page.1, None, true),
            (page.0, None, None, false),
            (page.0, None, page.2, false),
            (page.0, Some("null"), None, false),
            (page.0, Some("https://evil.example"), Some("cross-site"), false),
            (page.0, page.1, Some("cross-site"), false),
            (page.0, Some("http://127.0.0.1:9999"), Some("same-site"), false),
            ("evil.example:8800", Some("http://evil.example:8800"), Some("same-origin"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            origin.map(|origin| headers.insert(ORIGIN, HeaderValue::from_static(origin)));
            site.map(|site| headers.insert("sec-fetch-site", HeaderValue::from_static(site)));
            assert_eq!(comes_from_the_page(&headers), allowed, "{headers:?}");
        }
        assert!(!comes_from_the_page(&HeaderMap::new()));
    }

    #[test]
    fn queries_are_adjustments_or_nothing() {
        for (query, wanted) in [
            ("reset", Some(Adjustment::Reset)),
            ("pan=-3", Some(Adjustment::Pan { bars: -3 })),
            ("zoom=1", Some(Adjustment::Zoom { steps: 1, x: None })),
            ("zoom=-2,40", Some(Adjustment::Zoom { steps: -2, x: Some(40) })),
            ("point=3,4", Some(Adjustment::Pointer(Some((3, 4))))),
            ("point=off", Some(Adjustment::Pointer(None))),
            ("reset=1", None),
            ("pan=", None),
            ("pan=1&zoom=1", None),
            ("zoom=1,70000", None),
            ("point=3", None),
            ("", None),
        ] {
            assert_eq!(adjustment(query), wanted, "{query}");
        }
    }

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
