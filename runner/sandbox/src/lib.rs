//! Carries out a run specification: namespaces, mounts, cgroups, seccomp, exec.
