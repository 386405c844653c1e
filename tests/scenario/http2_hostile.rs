//! Clients of HTTP/2 that attack: each is bounded and told why, and others are served meanwhile.

use h2::client::Builder;

use crate::scenario::support::{
    Backend, Frame, FrameClient, H2, Rig, Wire, answer, eventually, field_block, frame, get, kind,
    soon,
};

const ENHANCE_YOUR_CALM: u32 = 11;

const PROTOCOL_ERROR: u32 = 1;

/// `END_STREAM` and `END_HEADERS`.
const WHOLE: u8 = 0x5;

fn get_block() -> Vec<u8> {
    field_block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ])
}

fn is_goaway(frame: &Frame) -> bool {
    frame.kind == kind::GOAWAY
}

/// Sends `attack` again and again until the connection ends, and returns the code of its GOAWAY;
/// `None` if it ended without one, or was reset before that was read.
async fn attack_until_closed(rig: &Rig, mut attack: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
    let mut client = FrameClient::open(rig.addr()).await;
    let sending = async {
        let mut round = 0;
        loop {
            if !client.try_send(&attack(round)).await {
                return;
            }
            round += 1;
            assert!(round < 1_000_000, "the attack goes on");
            if client.has_ended() {
                return;
            }
        }
    };
    soon("the end of the attack", sending).await;
    let goaway = client.until(is_goaway).await;
    goaway.and_then(|goaway| goaway.error())
}

/// Another client is served as if nothing happened.
async fn is_served(rig: &Rig) {
    assert_eq!(rig.lb.get("/").await.status, 200);
}

async fn rig() -> (Backend, Rig) {
    let target = Backend::answering("there").await;
    let rig = Rig::forward(&[target.addr()]).await;
    (target, rig)
}

/// CVE-2023-44487: requests that are taken back as soon as they are made.
#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let (target, rig) = rig().await;
    let block = get_block();
    let code = attack_until_closed(&rig, |round| {
        let mut bytes = Vec::new();
        for n in 0..50 {
            let stream = (round * 50 + n) * 2 + 1;
            bytes.extend(frame(kind::HEADERS, WHOLE, stream, &block));
            bytes.extend(frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        bytes
    })
    .await;
    assert!(matches!(code, None | Some(ENHANCE_YOUR_CALM)), "{code:?}");
    assert!(target.requests() < 500, "{}", target.requests());
    is_served(&rig).await;
    rig.quiet().await;
}

/// The same with a pause, so that each request is on its way before it is taken back.
#[tokio::test]
async fn requests_that_are_taken_back_one_by_one_end_the_connection() {
    let mut target = Backend::manual().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = FrameClient::open(rig.addr()).await;
    let block = get_block();
    let mut taken_back = 0;
    for n in 0..2_000_u32 {
        let stream = 2 * n + 1;
        client
            .send(frame(kind::HEADERS, WHOLE, stream, &block))
            .await;
        if client.has_ended() {
            break;
        }
        let held = tokio::select! {
            held = target.next_request() => held,
            _ = client.until(is_goaway) => break,
        };
        client
            .send(frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes()))
            .await;
        eventually("it is abandoned", || async {
            held.is_abandoned().then_some(()).ok_or(String::new())
        })
        .await;
        taken_back += 1;
    }
    assert!((200..300).contains(&taken_back), "{taken_back}");
    rig.quiet().await;
}

/// CVE-2025-8671: streams that Weir has to reset for their faults.
#[tokio::test]
async fn faults_that_make_weir_reset_streams_end_the_connection() {
    let (target, rig) = rig().await;
    let block = field_block(&[(":method", "GET"), ("connection", "close")]);
    let code = attack_until_closed(&rig, |round| {
        frame(kind::HEADERS, WHOLE, round * 2 + 1, &block)
    })
    .await;
    assert!(matches!(code, None | Some(ENHANCE_YOUR_CALM)), "{code:?}");
    assert_eq!(target.requests(), 0);
    is_served(&rig).await;
}

/// CVE-2024-27316: a head without end.
#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let (target, rig) = rig().await;
    for part in [Vec::new(), field_block(&[("x-a", "1")]), vec![0x82; 16_000]] {
        let block = get_block();
        let code = attack_until_closed(&rig, |round| match round {
            0 => frame(kind::HEADERS, 1, 1, &block),
            _ => frame(kind::CONTINUATION, 0, 1, &part),
        })
        .await;
        let known = [None, Some(ENHANCE_YOUR_CALM), Some(PROTOCOL_ERROR)];
        assert!(known.contains(&code), "{code:?}");
    }
    assert_eq!(target.requests(), 0);
    is_served(&rig).await;
    rig.quiet().await;
}

/// Frames that carry nothing, of each kind.
#[tokio::test]
async fn floods_of_frames_end_the_connection() {
    let (_target, rig) = rig().await;
    let settings = [0, 3, 0, 0, 0, 100];
    let floods = [
        ("pings", frame(kind::PING, 0, 0, &[0; 8])),
        ("settings", frame(kind::SETTINGS, 0, 0, &settings)),
        ("empty settings", frame(kind::SETTINGS, 0, 0, &[])),
        ("priorities", frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("unknown frames", frame(0xbe, 0, 0, &[0; 100])),
        ("pongs", frame(kind::PING, 1, 0, &[0; 8])),
    ];
    for (name, flood) in floods {
        let many = flood.repeat(1000);
        let code = attack_until_closed(&rig, |_| many.clone()).await;
        assert!(
            matches!(code, None | Some(ENHANCE_YOUR_CALM)),
            "{name}: {code:?}"
        );
        is_served(&rig).await;
    }
    rig.quiet().await;
}

#[tokio::test]
async fn floods_of_empty_data_end_the_connection() {
    let (_target, rig) = rig().await;
    let post = field_block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ]);
    for payload in [&[][..], b"x"] {
        let code = attack_until_closed(&rig, |round| match round {
            0 => frame(kind::HEADERS, 4, 1, &post),
            _ => frame(kind::DATA, 0, 1, payload).repeat(100),
        })
        .await;
        // Bytes one by one are a body, as long as the target takes them.
        let flow_control = 3;
        let known = [None, Some(ENHANCE_YOUR_CALM), Some(flow_control)];
        assert!(known.contains(&code), "{code:?}");
        is_served(&rig).await;
    }
    rig.quiet().await;
}

/// A few bytes that stand for a megabyte of fields, by references to the dynamic table.
#[tokio::test]
async fn a_head_that_grows_when_it_is_decoded_is_refused() {
    let (target, rig) = rig().await;
    let mut client = FrameClient::open(rig.addr()).await;
    let mut block = get_block();
    // With incremental indexing: 3900 bytes in the table.
    block.extend([0x40, 1, b'x', 127]);
    block.extend([(3900_u32 - 127) as u8 | 128, ((3900_u32 - 127) >> 7) as u8]);
    block.extend([b'y'; 3900]);
    client.send(frame(kind::HEADERS, WHOLE, 1, &block)).await;
    let answered = client.until(|frame| frame.kind == kind::HEADERS).await;
    assert_eq!(answered.expect("a response").status(), 200);
    let mut bomb = get_block();
    bomb.extend([0x80 | 0x3e; 12_000]);
    client.send(frame(kind::HEADERS, WHOLE, 3, &bomb)).await;
    let told = client
        .until(|frame| frame.kind == kind::HEADERS || is_goaway(frame))
        .await;
    let is_refused = match told {
        Some(told) if is_goaway(&told) => true,
        Some(told) => told.status() == 431,
        None => true,
    };
    assert!(is_refused);
    assert_eq!(target.requests(), 1);
    is_served(&rig).await;
}

#[tokio::test]
async fn the_most_streams_are_open_and_no_more() {
    let mut target = Backend::manual().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = FrameClient::open(rig.addr()).await;
    let block = get_block();
    for n in 0..140 {
        client
            .send(frame(kind::HEADERS, WHOLE, 2 * n + 1, &block))
            .await;
    }
    for _ in 0..12 {
        let refused = client.until(|frame| frame.kind == kind::RST_STREAM).await;
        let refused = refused.expect("a reset");
        assert!(refused.stream > 2 * 127 + 1, "{refused:?}");
        assert_eq!(
            refused.error(),
            Some(7),
            "REFUSED_STREAM, which may be sent again"
        );
    }
    let mut held = Vec::new();
    for _ in 0..128 {
        held.push(target.next_request().await);
    }
    assert_eq!(target.requests(), 128);
    drop(client);
    rig.quiet().await;
}

/// A connection on which nothing comes after a part of the preface, or of a frame.
#[tokio::test]
async fn half_open_connections_are_closed() {
    let target = Backend::answering("there").await;
    let keys = "client = { head_timeout = \"200ms\", idle_timeout = \"400ms\" }";
    let rig = Rig::with(&[target.addr()], keys, "").await;
    let head = frame(kind::HEADERS, WHOLE, 1, &get_block());
    let whole = [
        FrameClient::preface(),
        &frame(kind::SETTINGS, 0, 0, &[]),
        &head,
    ]
    .concat();
    // All of it but the last byte, and every beginning that ends where something is awaited.
    for length in [0, 1, 10, 20, 24, 30, 33, 40, whole.len() - 1] {
        let mut client = FrameClient::silent(rig.addr()).await;
        client.send(&whole[..length]).await;
        client.ends().await;
    }
    rig.quiet().await;
}

/// Responses for which the client opens no window cost little, and end.
#[tokio::test]
async fn closed_windows_hold_no_target_for_ever() {
    let target = Backend::with(|_| async { answer(200, vec![b'x'; 100_000]) }).await;
    let keys = "client = { body_timeout = \"300ms\" }";
    let rig = Rig::with(&[target.addr()], keys, "").await;
    let mut builder = Builder::new();
    builder.initial_window_size(0);
    let mut client = H2::open_with(rig.addr(), &builder).await;
    let mut bodies = Vec::new();
    for _ in 0..100 {
        let (response, _) = client.begin(get("/"), true).await;
        bodies.push(soon("a head", response).await.unwrap().into_body());
    }
    for mut body in bodies {
        let data = soon("the reset", body.data()).await;
        assert!(data.is_some_and(|data| data.is_err()));
    }
    is_served(&rig).await;
}

/// A client that asks for much and takes nothing from the socket.
#[tokio::test]
async fn a_client_that_does_not_read_loses_its_connection() {
    let target = Backend::with(|_| async { answer(200, vec![b'x'; 1_000_000]) }).await;
    let keys = "client = { body_timeout = \"300ms\" }";
    let rig = Rig::with(&[target.addr()], keys, "").await;
    let mut wire = Wire::open(rig.addr()).await;
    let window = [0, 4, 0x7f, 0xff, 0xff, 0xff];
    let mut bytes = FrameClient::preface().to_vec();
    bytes.extend(frame(kind::SETTINGS, 0, 0, &window));
    bytes.extend(frame(
        kind::WINDOW_UPDATE,
        0,
        0,
        &0x7000_0000_u32.to_be_bytes(),
    ));
    for n in 0..100 {
        bytes.extend(frame(kind::HEADERS, WHOLE, 2 * n + 1, &get_block()));
    }
    wire.send(bytes).await;
    rig.quiet().await;
}
