//! Rows of the failure matrix that a probe provokes: real agents on real files, asking real servers that are silent, talk
//! garbage or never end.

use super::{
    sandbox::Sandbox,
    support::{Outcome, reason, states},
};
use crate::journal::{EventKind, HostState, ProbePhase, StopCause};
use HostState::{Changed, NeverStarted, RolledBack};
use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Three hosts, one a batch; the change is one file, the probe as given.
fn hosts(probe: &str, stanza: &str) -> Sandbox {
    let settle = if stanza.contains("min_healthy_time") { "" } else { "    min_healthy_time: 100ms\n" };
    let playbook = format!(
        "- hosts: all
  gather_facts: false
  rollout:
    batches: [1]
{settle}    healthy_deadline: 60s
{stanza}
    probes:
      - name: service
        interval: 20ms
{probe}
    triggers:
      - name: the service fails
        when: service.consecutive_failures >= 3
  tasks:
    - name: Configure
      copy: {{ content: new, dest: '{{{{ root }}}}/app.conf', mode: '0640' }}
    - name: Turn it on
      file: {{ path: '{{{{ root }}}}/on', state: touch, modification_time: preserve, access_time: preserve }}
"
    );
    // In a pause hosts in flight are watched to their deadline.
    let deadline = if stanza.contains("pause_timeout") { "healthy_deadline: 3s" } else { "healthy_deadline: 60s" };
    let sandbox = Sandbox::new(&playbook.replace("healthy_deadline: 60s", deadline), 3);
    for host in ["h1", "h2", "h3"] {
        sandbox.write(host, "app.conf", "old");
        let path = sandbox.path(host, "app.conf");
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).expect("set");
    }
    sandbox
}

/// Path, bytes and mode of everything on all hosts.
fn everything(sandbox: &Sandbox) -> Vec<(String, Vec<u8>, u32)> {
    let with_mode = |(path, bytes): (String, Vec<u8>)| {
        let mode = fs_err::metadata(&path).expect("there").permissions().mode();
        (path, bytes, mode)
    };
    sandbox.everything().into_iter().map(with_mode).collect()
}

/// The evidence of the rounds after the change.
fn details(run: &Outcome) -> Vec<String> {
    let of = |kind: &EventKind| match kind {
        EventKind::Probed { phase: ProbePhase::Verify, evidence, .. } => Some(evidence.detail.clone()),
        _ => None,
    };
    run.kinds().filter_map(of).collect()
}

fn paused_as_inconclusive(run: &Outcome) -> bool {
    run.kinds().any(|kind| {
        matches!(kind, EventKind::Paused { cause: StopCause::Inconclusive { probe, host } } if probe == "service" && host == "h1")
    })
}

/// A file that is there as soon as the first host is changed: what it serves is well until then, as it must be, or nobody
/// would blame the change.
fn changed(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("h1", "on")
}

/// Serves every connection in a thread of its own until the test ends.
fn serve(each: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    serve_on("127.0.0.1", each)
}

/// The same at another address of the loopback.
pub(super) fn serve_on(address: &str, each: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind((address, 0)).expect("bound");
    let port = listener.local_addr().expect("bound").port();
    let each = Arc::new(each);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let each = Arc::clone(&each);
            std::thread::spawn(move || each(stream));
        }
    });
    port
}

/// A health document until the file is there, then whatever `sick` says.
fn health(file: PathBuf, sick: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    serve(move |mut stream| {
        read_question(&mut stream);
        if file.exists() {
            return sick(stream);
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"docker\":\"healthy\"}");
    })
}

fn read_question(stream: &mut TcpStream) {
    let mut asked = Vec::new();
    let mut byte = [0];
    while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        asked.push(byte[0]);
    }
}

/// The waiting ends by itself: nobody is there to answer.
const PAUSE_ENDS: &str = "    pause_timeout: 200ms\n    on_failure: rollback_batch";

/// Runs it, with `url` and `port` as variables of every host.
async fn run_with(sandbox: &Sandbox, port: u16) -> Outcome {
    let inventory = sandbox.project.dir.path().join("hosts.ini");
    let text = fs_err::read_to_string(&inventory).expect("there");
    let line = |line: &str| format!("{line} port={port} url=http://127.0.0.1:{port}/health\n");
    fs_err::write(&inventory, text.lines().map(line).collect::<String>()).expect("written");
    sandbox.run().await
}

fn of_host(all: &[(String, Vec<u8>, u32)], host: &str) -> Vec<(String, Vec<u8>, u32)> {
    all.iter().filter(|(path, ..)| path.contains(&format!("/{host}/"))).cloned().collect()
}

/// These hosts hold what the playbook writes, and nothing else is different.
fn changed_hosts(sandbox: &Sandbox, before: &[(String, Vec<u8>, u32)], hosts: &[&str]) {
    let after = everything(sandbox);
    // A file that the test itself has made tells what the umask leaves.
    let new = fs_err::metadata(sandbox.project.dir.path().join("hosts.ini")).expect("there").permissions().mode();
    for host in hosts {
        let mut expected = of_host(before, host);
        for (name, bytes, mode) in [("app.conf", &b"new"[..], new & !0o7777 | 0o640), ("on", b"", new)] {
            let path = sandbox.path(host, name).display().to_string();
            expected.retain(|(known, ..)| *known != path);
            expected.push((path, bytes.to_vec(), mode));
        }
        expected.sort();
        assert_eq!(of_host(&after, host), expected);
    }
}

/// The canary was changed and put back, the others were never started; all of it byte for byte.
fn put_back(sandbox: &Sandbox, before: &[(String, Vec<u8>, u32)], run: &Outcome) {
    assert_eq!(
        (states(run), run.outcome.exit_code),
        (vec![RolledBack, NeverStarted, NeverStarted], 2),
        "{:#?}",
        run.outcome
    );
    assert_eq!(everything(sandbox), before, "as before, byte for byte");
}

#[tokio::test]
async fn row_15_a_probe_that_flaps_begins_the_healthy_time_anew_and_the_report_counts_it() {
    // Well in every second round of the first fourteen after the change, then for good.
    let probe = "        command: test -e {{ root }}/on || exit 0; n=$(cat {{ root }}/n); echo $((n + 1)) > {{ root }}/n; test $n -ge 14 -o $((n % 2)) = 0";
    // Longer than any round may take: no flap is overlooked, however busy the machine is.
    let sandbox = hosts(probe, "    min_healthy_time: 2s");
    for host in ["h1", "h2", "h3"] {
        sandbox.write(host, "n", "0");
    }
    let mut before = everything(&sandbox);
    let run = sandbox.run().await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed; 3], 0), "{:#?}", run.outcome);
    // The probe's own count is no part of the change.
    before.retain(|(path, ..)| !path.ends_with("/n"));
    for host in ["h1", "h2", "h3"] {
        fs_err::remove_file(sandbox.path(host, "n")).expect("there");
    }
    changed_hosts(&sandbox, &before, &["h1", "h2", "h3"]);
    let flapped = reason(&run, "h1");
    assert!(flapped.starts_with("service flapped ") && flapped.ends_with('×'), "{flapped}");
    let view = crate::report::RunView::of(&run.events);
    assert!(crate::report::html::report(&view).contains(&flapped));
    assert!(crate::report::close_report(&view).contains(&flapped));
}

#[tokio::test]
async fn row_16_a_name_that_cannot_be_looked_up_is_an_error_that_pauses_and_rolls_nothing_back() {
    // No resolver takes a label of more than 63 letters: it fails here without asking anybody.
    let probe = format!("        http: http://{}.invalid/health\n        timeout: 5s", "x".repeat(64));
    let sandbox = hosts(&probe, PAUSE_ENDS);
    let before = everything(&sandbox);
    let run = sandbox.run().await;
    assert!(paused_as_inconclusive(&run), "{:#?}", run.outcome);
    assert!(details(&run).len() >= 5, "four errors running are tolerated, the fifth pauses");
    waited(&sandbox, &before, &run);
}

#[tokio::test]
async fn row_17_a_server_that_accepts_and_never_answers_is_unhealthy_when_the_attempt_s_time_is_over() {
    let sandbox = hosts("        http: '{{ url }}'\n        timeout: 300ms", "");
    let before = everything(&sandbox);
    let held = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&held);
    let port = health(changed(&sandbox), move |stream| keep.lock().expect("lock").push(stream));
    let run = run_with(&sandbox, port).await;
    put_back(&sandbox, &before, &run);
    let detail = details(&run);
    assert!(detail.iter().all(|detail| detail.contains("did not answer within 300 ms")), "{detail:?}");
}

#[tokio::test]
async fn row_17_a_probe_that_gets_no_connection_is_an_error_and_pauses() {
    // A full accept queue: the kernel drops what else wants to connect, as a firewall does.
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).expect("made");
    bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("bound");
    listen(&listener, 0).expect("listening");
    let address = SocketAddr::try_from(getsockname(&listener).expect("bound")).expect("an address");
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        held.push(stream);
        assert!(held.len() < 10, "the queue is never full");
    }
    let sandbox = hosts("        tcp: '127.0.0.1:{{ port }}'\n        timeout: 100ms", PAUSE_ENDS);
    let before = everything(&sandbox);
    let run = run_with(&sandbox, address.port()).await;
    assert!(paused_as_inconclusive(&run), "{:#?}", run.outcome);
    waited(&sandbox, &before, &run);
}

/// While the pause lasted nothing was put back and no other host was touched; nobody answered, and then all was as before.
fn waited(sandbox: &Sandbox, before: &[(String, Vec<u8>, u32)], run: &Outcome) {
    let position = |wanted: &dyn Fn(&EventKind) -> bool| run.kinds().position(wanted);
    let paused = position(&|kind| matches!(kind, EventKind::Paused { .. }));
    let over = position(
        &|kind| matches!(kind, EventKind::Aborted { cause: StopCause::Deadline { deadline, .. }, .. } if deadline == "pause_timeout"),
    );
    let undone = position(&|kind| matches!(kind, EventKind::RollbackIntent { .. }));
    assert!(
        paused.is_some() && paused < over && undone.is_none_or(|undone| Some(undone) > over),
        "{paused:?} {over:?} {undone:?}"
    );
    assert_eq!(states(run), [RolledBack, NeverStarted, NeverStarted], "{:#?}", run.outcome);
    assert_ne!(run.outcome.exit_code, 0);
    assert_eq!(everything(sandbox), before, "as before, byte for byte");
}

const DOCUMENT: &str =
    "        http: '{{ url }}'\n        timeout: 20s\n        success_when: json.docker == \"healthy\"";

#[tokio::test]
async fn row_18_an_answer_of_garbage_is_unhealthy() {
    let sandbox = hosts(DOCUMENT, "");
    let before = everything(&sandbox);
    let garbage = |mut stream: TcpStream| {
        let noise: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n");
        let _ = stream.write_all(&noise);
    };
    let port = health(changed(&sandbox), garbage);
    let run = run_with(&sandbox, port).await;
    put_back(&sandbox, &before, &run);
    assert!(details(&run).iter().all(|detail| detail.contains("not JSON")), "{:?}", details(&run));
}

#[tokio::test]
async fn row_18_a_body_of_a_gibibyte_or_without_an_end_is_cut_and_unhealthy() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n{\"docker\":\"healthy\",\"x\":\"",
        "HTTP/1.1 200 OK\r\n\r\n{\"x\":\"",
    ] {
        let sandbox = hosts(DOCUMENT, "");
        let before = everything(&sandbox);
        let most = Arc::new(AtomicUsize::new(0));
        let sent = Arc::clone(&most);
        let endless = move |mut stream: TcpStream| {
            let _ = stream.write_all(head.as_bytes());
            let (piece, mut count) = ([b'a'; 65536], 0);
            while stream.write_all(&piece).is_ok() && count < 1 << 30 {
                count += piece.len();
            }
            sent.fetch_max(count, Ordering::Relaxed);
        };
        let port = health(changed(&sandbox), endless);
        let run = run_with(&sandbox, port).await;
        put_back(&sandbox, &before, &run);
        let most = most.load(Ordering::Relaxed);
        assert!(most < 32 << 20, "{most} bytes were taken");
    }
}

#[tokio::test]
async fn row_34_a_registry_that_is_down_pauses_at_the_canary_and_nothing_else_is_touched() {
    // What `docker run` says, where there is no docker: an image to pull and nobody to give it.
    let probe = "        command: |
          test ! -e {{ root }}/on && exit 0
          echo \"Unable to find image 'probe:1' locally\" >&2
          echo 'docker: Error response from daemon: Get \"https://registry/v2/\": dial tcp: connection refused.' >&2
          exit 125";
    let sandbox = hosts(probe, &format!("    on_inconclusive: rollback\n{PAUSE_ENDS}"));
    let before = everything(&sandbox);
    let run = sandbox.run().await;
    assert!(paused_as_inconclusive(&run), "environment pauses whatever on_inconclusive says: {:#?}", run.outcome);
    let environment =
        run.kinds().any(|kind| matches!(kind, EventKind::Probed { evidence, .. } if evidence.environment));
    assert!(environment);
    waited(&sandbox, &before, &run);
}

#[tokio::test]
async fn row_35_a_trigger_at_the_last_host_fails_the_run() {
    let probe = "        command: test ! -e {{ root }}/on -o {{ inventory_hostname }} != h3";
    let sandbox = hosts(probe, "");
    let before = everything(&sandbox);
    let run = sandbox.run().await;
    assert_eq!((states(&run), run.outcome.exit_code), (vec![Changed, Changed, RolledBack], 2), "{:#?}", run.outcome);
    changed_hosts(&sandbox, &before, &["h1", "h2"]);
    assert_eq!(of_host(&everything(&sandbox), "h3"), of_host(&before, "h3"), "as before, byte for byte");
}

#[tokio::test]
async fn row_35_no_host_is_an_error_and_not_a_success() {
    let mut sandbox = hosts("        command: 'true'", "");
    let before = everything(&sandbox);
    sandbox.project.options.limit = Some("h1:!h1".to_owned());
    let log = super::support::Log::default();
    let (_signals, receiver) = tokio::sync::mpsc::channel(4);
    let spec = sandbox.project.spec(&log, receiver);
    let fleet = sandbox.fleet()(&spec.base.run_id);
    let error = crate::engine::run(spec, fleet).await.expect_err("refused");
    assert!(error.render(false).contains("no host is left"), "{}", error.render(false));
    assert_eq!(everything(&sandbox), before);
}
