use lucid_client::{Client, ClientError};

#[tokio::test]
async fn the_message_says_where_nobody_answers() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::new(&url).unwrap().status().await.unwrap_err();
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(text.contains(&url) && text.contains("rpc.listen"), "{text}");
}

#[test]
fn what_is_no_address_is_refused() {
    for url in ["", "127.0.0.1:8545", "https://127.0.0.1:8545", "http://"] {
        assert!(
            matches!(Client::new(url), Err(ClientError::Url { .. })),
            "{url}"
        );
    }
}
