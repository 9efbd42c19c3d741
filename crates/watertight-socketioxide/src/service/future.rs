//! What is done around the engine's own work on a request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Extensions, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use pin_project_lite::pin_project;
use watertight::{Connection, Lease, Scope};

use super::body::{HttpResponse, RequestBody, ResponseBody};
use super::engine::Stray;
use super::own_response;
use crate::session::{PollRequest, PollingSession};

/// What a request is to the session it belongs to.
pub(super) enum Task {
    /// Nothing in particular.
    Pass,
    /// It is of a session that polls and that nobody knows.
    Unknown { stray: Option<Stray> },
    /// It opens a session that polls.
    Open { session: Arc<PollingSession> },
    /// It upgrades its connection to a WebSocket, of a new session or of one that polled.
    Upgrade { lease: Lease, session: Option<Arc<PollingSession>>, connection: Option<Connection> },
    /// It waits for packets.
    Poll(PollRequest),
    /// It brings packets.
    Post { session: Arc<PollingSession> },
    /// It brings packets of a session that is being sealed.
    Ignore,
}

impl Task {
    /// Marks a request that opens a session: the engine keeps it, and with it what lives as long as the session.
    pub(super) fn mark(&self, request: &mut Extensions) {
        match self {
            Self::Open { session } => {
                request.insert(session.lease().clone());
                request.insert(Arc::clone(session));
            }
            Self::Upgrade { lease, session: None, .. } => {
                request.insert(lease.clone());
            }
            _ => {}
        }
    }

    /// Closes the session that nobody here knows: the engine has served it.
    fn close_stray(&mut self) {
        if let Self::Unknown { stray } = self
            && let Some(stray) = stray.take()
        {
            stray.close_served();
        }
    }

    fn session(&self) -> Option<&Arc<PollingSession>> {
        match self {
            Self::Open { session } | Self::Post { session } => Some(session),
            Self::Poll(poll) => Some(poll.session()),
            Self::Pass | Self::Unknown { .. } | Self::Upgrade { .. } | Self::Ignore => None,
        }
    }
}

pin_project! {
    /// The future of [`SocketIoService`](super::SocketIoService).
    #[project = ResponseFutureProjection]
    pub struct ResponseFuture<F> {
        // `None` when the engine is not asked, and after its code panicked.
        #[pin]
        future: Option<F>,
        task: Task,
        // The one of the session it belongs to, lent to the thread while the engine works on it.
        scope: Option<Scope>,
    }
}

impl<F> ResponseFuture<F> {
    /// `call` asks the engine. The request is lent to the boundary, and what is answered is put where it will be: both are large,
    /// and would be moved through it.
    #[inline]
    pub(super) fn new<B>(
        task: Task,
        request: Request<B>,
        call: impl FnOnce(Request<RequestBody<B>>) -> F,
    ) -> Self {
        let mut request = Some(request.map(RequestBody::client));
        let scope = task.session().map(|session| session.scope().clone());
        let mut made = Self { future: None, task, scope };
        let Self { future, task, scope } = &mut made;
        match (&*task, &scope) {
            (Task::Ignore, _) => {}
            (task, Some(_)) => {
                // After a panic there is none.
                let _reported = watertight::run_lent(scope, || {
                    let Some(mut request) = request.take() else { return };
                    // The engine keeps a request that opens a session, with its extensions. It never looks at those of later
                    // ones.
                    if matches!(task, Task::Poll(_) | Task::Post { .. }) {
                        watertight::keep_extensions(request.extensions_mut());
                    }
                    *future = Some(call(request));
                });
            }
            (_, None) => *future = request.take().map(call),
        }
        made
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<R, E>>,
    R: HttpResponse,
    R::Body: Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<R::Body>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return Poll::Ready(Ok(not_asked(this.task)));
        };
        let poll = match &*this.task {
            Task::Poll(poll) => Some((poll.session().look(), poll.bell())),
            _ => None,
        };
        let waker = poll.as_ref().map_or(cx.waker(), |(_, bell)| bell);
        let asking = &mut Context::from_waker(waker);
        let polled = if this.scope.is_some() {
            let mut polled = None;
            let _reported = watertight::run_lent(this.scope, || polled = Some(future.poll(asking)));
            let Some(polled) = polled else {
                let _ = watertight::run_lent(this.scope, || this.future.set(None));
                return Poll::Ready(Ok(unknown_session()));
            };
            polled
        } else {
            future.poll(asking)
        };
        let look = poll.map(|(look, _)| look);
        let answer = match (polled, &*this.task, look) {
            (Poll::Ready(answer), ..) => answer?,
            (Poll::Pending, Task::Poll(poll), Some(look)) if !poll.park(look, cx.waker()) => {
                this.future.set(None);
                return Poll::Ready(Ok(closed(poll)));
            }
            (Poll::Pending, ..) => {
                // An unknown one is refused at once.
                this.task.close_stray();
                return Poll::Pending;
            }
        };
        let response = answer.into_response();
        Poll::Ready(Ok(match this.task {
            Task::Poll(_) | Task::Post { .. } | Task::Pass => response.map(ResponseBody::passed),
            task => finish(task, response),
        }))
    }
}

/// What those are answered whom the engine is not asked about, or whose request its code panicked at.
#[cold]
fn not_asked<B>(task: &Task) -> Response<ResponseBody<B>> {
    match task {
        // Its client learns that the session is over from its poll request; this one is only ignored.
        Task::Ignore => own_response(StatusCode::OK, "text/plain; charset=UTF-8", "ok"),
        _ => unknown_session(),
    }
}

/// What the poll request of a session that is sealed is answered.
#[cold]
fn closed<B>(poll: &PollRequest) -> Response<ResponseBody<B>> {
    own_response(StatusCode::OK, "text/plain; charset=UTF-8", poll.session().close_packet())
}

/// What is done with the answer to a request that begins or ends something.
#[cold]
fn finish<B: Body<Data = Bytes>>(task: &mut Task, response: Response<B>) -> Response<ResponseBody<B>> {
    match task {
        Task::Unknown { .. } if response.status() == StatusCode::OK => task.close_stray(),
        Task::Open { session } => return response.map(|body| name_session(session, body)),
        Task::Upgrade { lease, session, connection }
            if response.status() == StatusCode::SWITCHING_PROTOCOLS =>
        {
            if let Some(session) = session {
                session.upgraded();
            }
            if let Some(connection) = connection {
                connection.link(lease);
            }
        }
        _ => {}
    }
    response.map(ResponseBody::passed)
}

/// Reads the new session's id from the engine's answer, so that its very first request finds it.
fn name_session<B: Body<Data = Bytes>>(session: &Arc<PollingSession>, body: B) -> ResponseBody<B> {
    let mut body = Box::pin(body);
    let mut context = Context::from_waker(Waker::noop());
    // The engine answers with a body that is there at once and in one piece.
    let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut context) else {
        return ResponseBody::own(Full::default());
    };
    let Ok(data) = frame.into_data() else {
        return ResponseBody::own(Full::default());
    };
    if let Some(id) = session_id(&data) {
        session.name(id);
    }
    ResponseBody::own(Full::new(data))
}

/// The `sid` of an Engine.IO open packet.
fn session_id(data: &[u8]) -> Option<&str> {
    const KEY: &str = "\"sid\":\"";
    let text = std::str::from_utf8(data).ok()?;
    let start = text.find(KEY)? + KEY.len();
    let end = text[start..].find('"')?;
    Some(&text[start..start + end])
}

/// What the engine answers for a session that it does not know.
#[cold]
fn unknown_session<B>() -> Response<ResponseBody<B>> {
    const TEXT: &str = r#"{"code":"1","message":"Session ID unknown"}"#;
    own_response(StatusCode::BAD_REQUEST, "application/json", TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_id_in_open_packets_of_both_versions() {
        let v4 = br#"0{"sid":"AAAAAAAAAAAAAAHs","upgrades":["websocket"],"pingInterval":25000}"#;
        assert_eq!(session_id(v4), Some("AAAAAAAAAAAAAAHs"));
        assert_eq!(session_id(br#"96:0{"sid":"x","upgrades":[]}"#), Some("x"));
        for other in [&b""[..], b"ok", br#"{"sid":"#, &[0xff, 0xfe]] {
            assert_eq!(session_id(other), None);
        }
    }
}
