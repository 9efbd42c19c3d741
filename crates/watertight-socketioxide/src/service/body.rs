//! Bodies: those of clients and of the inner service, and our own.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

/// A request's body: the client's, or of a request that the server sends to its own engine.
pub struct RequestBody<B>(Origin<B>);

enum Origin<B> {
    Client(B),
    /// What is still to be read. No more than a few words: every request is moved with its body, again and again.
    Own(&'static str),
}

impl<B> RequestBody<B> {
    pub(super) fn client(body: B) -> Self {
        Self(Origin::Client(body))
    }

    pub(super) fn own(text: &'static str) -> Self {
        Self(Origin::Own(text))
    }
}

impl<B: fmt::Debug> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Origin::Client(body) => body.fmt(f),
            Origin::Own(text) => text.fmt(f),
        }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body + Unpin,
    B::Data: Into<Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.get_mut().0 {
            Origin::Client(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(Into::into)))),
            Origin::Own("") => Poll::Ready(None),
            Origin::Own(text) => {
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(mem::take(text).as_bytes())))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Origin::Client(body) => body.is_end_stream(),
            Origin::Own(text) => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Origin::Client(body) => body.size_hint(),
            Origin::Own(text) => SizeHint::with_exact(text.len() as u64),
        }
    }
}

/// Gives the inner service the client's own body back.
#[derive(Debug, Clone)]
pub struct PassBody<S>(pub(crate) S);

impl<B> RequestBody<B> {
    fn into_client(request: Request<Self>) -> Request<B> {
        request.map(|body| match body.0 {
            Origin::Client(body) => body,
            Origin::Own(_) => {
                unreachable!("requests of our own go to the engine's path, so never to the inner service")
            }
        })
    }
}

impl<S, B> tower_service::Service<Request<RequestBody<B>>> for PassBody<S>
where
    S: tower_service::Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody<B>>) -> Self::Future {
        self.0.call(RequestBody::into_client(request))
    }
}

impl<S, B> hyper::service::Service<Request<RequestBody<B>>> for PassBody<S>
where
    S: hyper::service::Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<RequestBody<B>>) -> Self::Future {
        self.0.call(RequestBody::into_client(request))
    }
}

pin_project! {
    /// A response's body: the engine's or the inner service's, or one of the few that the guard makes.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        body: PassedOrOwn<B>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = PassedOrOwnProjection]
    enum PassedOrOwn<B> {
        Passed { #[pin] body: B },
        Own { body: Full<Bytes> },
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn passed(body: B) -> Self {
        Self { body: PassedOrOwn::Passed { body } }
    }

    pub(super) fn own(body: Full<Bytes>) -> Self {
        Self { body: PassedOrOwn::Own { body } }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.project().body.project() {
            PassedOrOwnProjection::Passed { body } => body.poll_frame(cx),
            PassedOrOwnProjection::Own { body } => {
                Pin::new(body).poll_frame(cx).map_err(|never| match never {})
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            PassedOrOwn::Passed { body } => body.is_end_stream(),
            PassedOrOwn::Own { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            PassedOrOwn::Passed { body } => body.size_hint(),
            PassedOrOwn::Own { body } => body.size_hint(),
        }
    }
}

/// Names the body of a response whose type upstream keeps private.
pub trait HttpResponse {
    /// The body.
    type Body;
    /// The response itself.
    fn into_response(self) -> Response<Self::Body>;
}

impl<B> HttpResponse for Response<B> {
    type Body = B;

    fn into_response(self) -> Response<B> {
        self
    }
}
