//! The same todos in PostgreSQL, where `TASKOVERFLOW_TEST_POSTGRES` says so.

use tokio_postgres::{Client, NoTls};

use crate::process::{Replica, Starting, eventually};
use crate::requests::crud;

/// One test, because its parts share one database.
#[test]
fn replicas_share_postgresql_and_follow_its_state() {
    let Ok(url) = std::env::var("TASKOVERFLOW_TEST_POSTGRES") else {
        return;
    };
    execute(&url, "DROP TABLE IF EXISTS todos");
    let starting: Vec<_> = (0..4).map(|_| Replica::starting(&url, &[])).collect();
    let replicas: Vec<_> = starting.into_iter().map(Starting::started).collect();
    for replica in &replicas {
        assert_eq!(replica.list().len(), 5);
        assert_eq!(replica.get("/api/v1/health").status, 200);
        crud(replica);
    }
    let replica = &replicas[0];
    assert_eq!(
        replica
            .get("/api/v1/todos?completed=true&limit=1")
            .body
            .as_array()
            .unwrap()
            .len(),
        1
    );

    let sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'taskoverflow'";
    execute(&url, sessions);
    eventually("sessions are opened again", || {
        (replica.get("/api/v1/health").status == 200).then_some(())
    });
    eventually("todos are served again", || {
        (replica.get("/api/v1/todos").status == 200).then_some(())
    });

    execute(&url, "DROP TABLE todos");
    let health = replica.get("/api/v1/health");
    assert_eq!(health.status, 503);
    assert!(health.text("reason").contains("todos"), "{}", health.body);
    assert_eq!(replica.get("/api/v1/todos").status, 503);
}

fn execute(url: &str, sql: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (client, connection): (Client, _) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        client.batch_execute(sql).await.unwrap();
        drop(client);
        driver.await.unwrap().unwrap();
    });
}
