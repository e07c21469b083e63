//! What the coordinator does across nodes: transfers, claims, API keys, while messages are lost, doubled and late and its own partition moves.

use std::sync::Arc;

use tokenweir::meter::{
    ActorId, KeyId, LicenseKey, Meter, Name, NewApiKey, OrgId, Role, Tokens, TransferId, TransferState,
    TransferView, Until,
};

use crate::nodes::{Cluster, HOST, PARTITIONS, code, name_in};

/// Asks a node for a transfer until it is told that it ended.
async fn transfer(
    cluster: &Cluster,
    meter: &Meter,
    id: &str,
    source: &OrgId,
    target: &OrgId,
) -> TransferView {
    let id = TransferId::new(id).expect("valid");
    cluster
        .until(|| async {
            let both = (source.clone(), target.clone());
            match meter.transfer(HOST, id.clone(), both, Until::Begun).await {
                Ok(view) => view.ended_at.is_some().then_some(view),
                Err(error) => {
                    assert_eq!(error.code(), "elsewhere", "{error}");
                    None
                }
            }
        })
        .await
}

async fn sum(cluster: &Cluster, ids: &[OrgId]) -> u64 {
    let mut sum = 0;
    for id in ids {
        sum += cluster.available(id).await;
    }
    sum
}

fn key(id: &str, grants: &[u64]) -> LicenseKey {
    LicenseKey { id: KeyId::new(id).expect("valid"), grants: grants.iter().copied().map(Tokens).collect() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r11_i1_i6_transfers_across_nodes_move_everything_once_while_messages_are_lost_doubled_and_late() {
    let cluster = Cluster::of(3);
    let ids: Vec<_> =
        (0..PARTITIONS).flat_map(|partition| [name_in(partition, 0), name_in(partition, 1)]).collect();
    for (id, tokens) in ids.iter().zip([1_000, 200, 30, 4_000, 500, 60]) {
        cluster.organization(id, tokens).await;
    }
    cluster.net.trouble(20);
    let mut finished = 0;
    for round in 0..30 {
        let (source, target) = (&ids[round % 6], &ids[(round * 5 + 1 + round / 6) % 6]);
        if source == target {
            continue;
        }
        let had = cluster.available(source).await;
        let view = transfer(&cluster, &cluster.nodes[round % 3], &format!("t{round}"), source, target).await;
        match view.state {
            TransferState::Finished => {
                assert_eq!((view.tokens.0, cluster.available(source).await), (had, 0));
                finished += 1;
            }
            _ => assert_eq!((view.refusal.as_deref(), had), (Some("nothing_to_transfer"), 0)),
        }
        assert_eq!(sum(&cluster, &ids).await, 5_790, "after t{round}");
    }
    assert!(finished >= 10 && cluster.net.told() > 100, "{finished} of {}", cluster.net.told());
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i6_transfers_end_on_both_sides_alike_while_the_partitions_of_all_who_take_part_move() {
    let cluster = Arc::new(Cluster::of(3));
    let ids: Vec<_> = (0..PARTITIONS).map(|partition| name_in(partition, 0)).collect();
    for id in &ids {
        cluster.organization(id, 100).await;
    }
    cluster.net.trouble(5);
    let (moved, all) = (Arc::clone(&cluster), ids.clone());
    let transfers = tokio::spawn(async move {
        let mut ended = [0, 0];
        for round in 0..20 {
            let (source, target) = (&all[round % 3], &all[(round + 1) % 3]);
            let view = transfer(&moved, &moved.nodes[round % 3], &format!("t{round}"), source, target).await;
            ended[usize::from(view.state == TransferState::Finished)] += 1;
        }
        ended
    });
    let mut at = [0, 1, 2];
    for round in 0.. {
        if transfers.is_finished() {
            break;
        }
        let partition = round % 3;
        let to = (at[partition] + 1) % 3;
        cluster.move_to(at[partition], to, u16::try_from(partition).expect("few"));
        at[partition] = to;
        tokio::task::yield_now().await;
    }
    let [aborted, finished] = transfers.await.expect("all ended");
    println!("{finished} finished, {aborted} aborted");
    for id in &ids {
        // Nothing is in transit any more: a new license is taken at once.
        let claim =
            || async { cluster.handle(id).ok()?.add_licenses(key(&format!("k-{id}"), &[1])).await.ok() };
        cluster.until(claim).await;
    }
    assert_eq!(sum(&cluster, &ids).await, 303);
    assert_eq!(aborted + finished, 20);
    Arc::into_inner(cluster).expect("all ended").close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_a_license_key_is_claimed_once_over_all_nodes() {
    let cluster = Cluster::of(3);
    let ids: Vec<_> = (0..PARTITIONS).map(|partition| name_in(partition, 0)).collect();
    for id in &ids {
        cluster.organization(id, 1).await;
    }
    cluster.net.trouble(10);
    for round in 0..10 {
        let (name, before) = (format!("key-{round}"), sum(&cluster, &ids).await);
        let mut claimed = 0;
        for id in &ids {
            let claim = || async {
                match cluster.handle(id).ok()?.add_licenses(key(&name, &[10, 5])).await {
                    Ok(claim) => Some(claim.licenses.len()),
                    Err(error) if error.is_retryable() => None,
                    Err(error) => {
                        assert_eq!(error.code(), "license_key_claimed");
                        Some(0)
                    }
                }
            };
            claimed += cluster.until(claim).await;
        }
        assert_eq!((claimed, sum(&cluster, &ids).await), (2, before + 15), "{name}");
    }
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_api_keys_are_known_at_every_node_and_a_revoked_one_at_none_whatever_comes_late() {
    // The fourth owns nothing, so nobody tells it anything.
    let cluster = Cluster::idle(4);
    (0..PARTITIONS).for_each(|partition| cluster.take(usize::from(partition), partition).expect("new"));
    let id = name_in(2, 0);
    cluster.organization(&id, 1).await;
    cluster.net.trouble(25);
    for round in 0..4 {
        let maker = &cluster.nodes[round];
        let actor = ActorId::new(&format!("key{round}")).expect("valid");
        let new = || NewApiKey {
            label: Name::new("a key").expect("valid"),
            role: Role::Viewer,
            organizations: vec![id.clone()],
        };
        let secret = maker.create_api_key_as(HOST, actor.clone(), new()).await;
        // Who does not know whether it was made asks for another.
        let Ok((_, secret)) = secret else { continue };
        for node in &cluster.nodes {
            cluster.until(|| async { node.authenticate(&secret) }).await;
        }
        cluster.until(|| async { maker.revoke_api_key(HOST, actor.clone()).await.ok() }).await;
        for node in &cluster.nodes {
            cluster.until(|| async { node.authenticate(&secret).is_none().then_some(()) }).await;
        }
        cluster.net.deliver_late();
        assert!(cluster.nodes.iter().all(|node| node.authenticate(&secret).is_none()), "it stays revoked");
    }
    cluster.net.trouble(0);
    let unknown = NewApiKey {
        label: Name::new("a key").expect("valid"),
        role: Role::Viewer,
        organizations: vec![id, name_in(1, 0)],
    };
    assert_eq!(code(cluster.nodes[3].create_api_key(HOST, unknown).await), "unknown_organization");
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r11_who_was_deposed_without_knowing_does_not_say_that_an_organization_does_not_exist() {
    let cluster = Cluster::idle(2);
    (0..PARTITIONS).for_each(|partition| cluster.take(0, partition).expect("new"));
    let (here, there) = (name_in(0, 0), name_in(1, 0));
    cluster.organization(&here, 5).await;
    cluster.take(1, 1).expect("whole");
    cluster.bare(&there).await;
    assert!(cluster.nodes[0].serves(1), "it does not know");
    let both = (there.clone(), here.clone());
    let id = TransferId::new("t").expect("valid");
    assert_eq!(code(cluster.nodes[0].transfer(HOST, id, both, Until::Ended).await), "elsewhere");
    cluster.handle(&there).expect("there").grant(vec![Tokens(7)]).await.expect("within bounds");
    let view = transfer(&cluster, &cluster.nodes[0], "t", &there, &here).await;
    assert_eq!((view.state, cluster.available(&here).await), (TransferState::Finished, 12));
    let both = (name_in(1, 1), here);
    let id = TransferId::new("u").expect("valid");
    assert_eq!(code(cluster.nodes[0].transfer(HOST, id, both, Until::Ended).await), "unknown_organization");
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_refused_as_elsewhere_while_nobody_owns_the_coordinator() {
    let cluster = Cluster::of(3);
    let (source, target) = (name_in(1, 0), name_in(2, 0));
    cluster.organization(&source, 5).await;
    cluster.organization(&target, 1).await;
    cluster.net.forget(0);
    cluster.leave(0, 0);
    let id = TransferId::new("t").expect("valid");
    let both = (source.clone(), target.clone());
    assert_eq!(code(cluster.nodes[1].transfer(HOST, id.clone(), both, Until::Ended).await), "elsewhere");
    assert_eq!(code(cluster.nodes[1].transfer_status(HOST, id).await), "elsewhere");
    assert_eq!(code(cluster.handle(&source).expect("here").grant(vec![Tokens(1)]).await), "elsewhere");
    cluster.take(2, 0).expect("whole");
    let view = transfer(&cluster, &cluster.nodes[1], "t", &source, &target).await;
    assert_eq!(view.state, TransferState::Finished);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_a_coordinator_whose_node_was_deposed_without_knowing_reaches_an_organization_that_was_made_since()
{
    let cluster = Cluster::idle(2);
    (0..PARTITIONS).for_each(|partition| cluster.take(0, partition).expect("new"));
    cluster.take(1, 2).expect("whole");
    assert!(cluster.nodes[0].serves(2), "it does not know");
    let late = name_in(2, 0);
    cluster.organization(&late, 9).await;
    assert_eq!((cluster.nodes[0].serves(2), cluster.available(&late).await), (false, 9));
    cluster.close().await;
}
