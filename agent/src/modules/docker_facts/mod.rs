//! `docker_facts`: everything about a host's Docker that decides whether and how `userns-remap` can be turned on, in one
//! round trip. It changes nothing, and a Docker that is absent, stopped or hung is a fact and not a failure.
//!
//! Parameters: `userns_remap_user` (default `dockremap`), `subid_start` (default: choose by rollout.md R25), `subid_count`
//! (default 65536), `timeout` (seconds for one question to the engine, default 20), `scan` (look at every inode, too; default
//! false).
//!
//! The result is below `docker`. Every key is always there; one that needs the engine is null, false, 0 or empty while the
//! engine does not answer.
//!
//! | key | value |
//! |---|---|
//! | `available` | the engine answered |
//! | `problem` | why it did not; null |
//! | `timed_out` | it did not answer within `timeout` |
//! | `installed` | a docker command was found |
//! | `cli` | its path; null |
//! | `dockerd.path`, `dockerd.validates` | the daemon's program; null; whether it knows `--validate` |
//! | `snap`, `rootless` | such an engine cannot be remapped |
//! | `version`, `version_supported` | the server's; 20.10.9 or newer |
//! | `id` | the engine's |
//! | `driver`, `driver_status`, `image_store` | storage driver; a map; `graphdriver` or `containerd` |
//! | `security_options` | as docker info lists them |
//! | `userns` | remapping is on |
//! | `root_dir` | the root in use (`…/100000.100000` under a remap) |
//! | `remapped_root` | the root that the chosen range leads to; null without a range |
//! | `remapped_as_wanted` | remapping is on and `root_dir` is `remapped_root` |
//! | `userns_remap` | the setting: `value source is_user`; `source` is `file` or `flag`; `is_user`: it means `userns_remap_user` (`default` is dockremap) |
//! | `data_root` | `path exists mode owner group uid gid closed_parents[] remapped[]` of the root without a remap's directory; `closed_parents` are directories above it without `o+x`, below which a remapped engine refuses to start; each of `remapped` has `name path uid gid empty` |
//! | `free_mb`, `free_inodes` | of the data root's file system, for root; inodes null where it has no fixed number |
//! | `config_free_mb`, `config_free_inodes` | the same for the directory of daemon.json |
//! | `live_restore`, `swarm`, `swarm_manager`, `swarm_node` | `swarm` is `inactive`, `active`, `pending`, `locked` or `error` |
//! | `default_runtime`, `runtimes`, `cgroup_version`, `volume_plugins` | |
//! | `counts` | `images containers running volumes` |
//! | `containers`, `running` | all; those that run. Each: `id name image status running pid privileged userns_mode network_mode pid_mode ipc_mode restart_policy auto_remove driver swarm_task runtime devices docker_socket binds[source destination rw kind uid gid mode] volumes[name destination driver] labels class because[] followers[]`; `class` is `remaps`, `needs_host_userns` (has it or needs it), `recreate` or `refused`; `followers` are those that join it and go with it; a bind's `kind` is `directory`, `file`, `socket`, `device`, `fifo`, `network` (not looked at) or `missing` |
//! | `classes` | the names of the containers of each class |
//! | `volumes` | `name driver mountpoint options ownership containers[] host_containers[]`; `ownership` is `shifted`, `left` (only `host_containers`, those with the host's user namespace, use it), `undecided` (both kinds do), `elsewhere` or `plugin` |
//! | `compose_projects` | `project directory files containers[] needs_host[]` |
//! | `swarm_services` | `service containers[] needs_host[]` of the tasks on this host |
//! | `named_in` | `file line path`: configuration of log shippers, rotation, backups and timers that names the engine's data |
//! | `pin_store` | from engine 29 on: `features.containerd-snapshotter: false` has to be written |
//! | `scan` | null unless asked for: `problem inodes mb shifted found{outside in_range linked unreadable foreign_capabilities: {count first[]}} refused[] notes[] strategies{move reflink copy: {mb inodes possible}}` |
//! | `caveats` | what a remap changes: `id name kind blocks reason resolution`; `name` is `host` for the engine itself, `volume NAME` for a volume |
//! | `daemon_json` | `path exists text parsed valid problem duplicate_keys indent`; `parsed` is null unless `valid` or absent (then an empty map); `indent` in spaces |
//! | `unit` | `name exists active enabled command[] flags[flag directive value] conflicts[]` |
//! | `subid` | the range: `user start count why problem overlaps`; `why` is `kept`, `picked` or `given`; `start` null with a `problem` |
//! | `subuid`, `subgid` | `path exists text lines[owner start count] malformed[line text] merged changed`; `merged` is the text to write |
//! | `user`, `group` | `name exists uid gid home shell`; `name exists gid` of `userns_remap_user` |
//! | `kernel`, `kernel_supported` | release; 3.8 or newer |
//! | `max_user_namespaces`, `userns_usable`, `userns_problem` | the sysctl (2147483647 where the kernel has none); whether root can make one |
//! | `selinux_tools` | `semanage`, `restorecon` and `matchpathcon` are there |
//! | `selinux` | `enforcing`, `permissive`, `disabled` or `absent` |

mod caveats;
mod classes;
mod collect;
mod config;
mod container;
mod engine;
mod findings;
mod host;
mod module;
mod mounts;
mod named;
mod needs;
mod paths;
mod query;
mod store;
mod subid;
mod unit;
mod version;
mod volumes;

pub(super) use collect::{dockerd_validates, unit_flags};
pub(super) use module::{SPEC, build};
pub(super) use paths::{SUBGID, SUBUID, UNIT, text_if_exists};
pub(super) use subid::{Owner, SubidFile};
pub(super) use unit::{Flag, conflicts};
