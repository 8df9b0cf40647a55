# Tells what a process of a container really has, one property a line: `KEY VALUE`. Needs a shell
# and coreutils.
while read -r key value; do
    case $key in
        Cap*|NoNewPrivs:|Seccomp:|Seccomp_filters:|Groups:|Uid:|Gid:) echo "status.${key%:} $value" ;;
    esac
done </proc/self/status
while read -r _ _ _ _ where options rest; do
    shared=${rest%%- *} kind=${rest#*- }
    echo "mount.$where ${kind%% *} $options${shared:+ }$shared"
    # Of the others they are names of directories, or of the host's disks.
    case $kind in
        proc*|sysfs*|tmpfs*|devpts*|mqueue*) echo "filesystem.$where ${kind##* }" ;;
    esac
done </proc/self/mountinfo
for path in /dev/* /dev/pts/ptmx; do
    if [ -h "$path" ]; then echo "device.$path -> $(readlink "$path")"
    else echo "device.$path $(stat -c '%F %a %u:%g %t:%T' "$path")"; fi
done
for name in uid_map gid_map; do
    read -r map </proc/self/$name
    echo "$name" $map
done
echo "setgroups $(cat /proc/self/setgroups)"
# What opens: disk, memory, null, kernel log, console, tunnel, fuse, random.
for device in 'b 8 0' 'c 1 1' 'c 1 3' 'c 1 11' 'c 5 1' 'c 10 200' 'c 10 229' 'c 1 8'; do
    made=no opened=no
    mknod /tmp/kiln-probe $device 2>/dev/null && made=yes
    # Not for reading or writing anything: some would wait.
    (exec 3<>/tmp/kiln-probe) 2>/dev/null && opened=yes
    rm -f /tmp/kiln-probe
    echo "node.$device made: $made, opened: $opened" | tr ' ' '_' | sed 's/_made/ made/'
done
while read -r line; do
    case $line in Limit*) continue ;; esac
    echo "limit.$line" | sed 's/   */ /g; s/\. */./; s/\(\.[A-Z][a-z]* [a-z]*\( [a-z]*\)*\) /\1: /'
done </proc/self/limits
for path in /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats \
    /proc/sched_debug /proc/scsi /proc/timer_list /proc/timer_stats /proc/bus /proc/fs /proc/irq \
    /proc/sys /proc/sysrq-trigger /sys/firmware /sys/devices/virtual/powercap /sys/fs/cgroup; do
    if [ -d "$path" ]; then
        entries=$(ls -A "$path" 2>/dev/null | wc -l)
        [ "$entries" -gt 0 ] && entries=some
        made=no
        mkdir "$path/kiln-probe" 2>/dev/null && made=yes && rmdir "$path/kiln-probe"
        echo "path.$path directory, $entries entries, writable: $made"
    elif [ -e "$path" ]; then
        bytes=$(head -c 1 "$path" 2>/dev/null | wc -c)
        echo "path.$path $(stat -c %F "$path"), $bytes byte"
    else
        echo "path.$path absent"
    fi
done
for path in kernel/core_pattern vm/drop_caches kernel/hostname net/ipv4/ip_forward; do
    if echo 1 2>/dev/null >"/proc/sys/$path"; then echo "write.$path yes"; else echo "write.$path no"; fi
done
for name in ip_unprivileged_port_start ping_group_range ip_forward; do
    echo "sysctl.$name" $(cat "/proc/sys/net/ipv4/$name")
done
echo "oom_score_adj $(cat /proc/self/oom_score_adj)"
echo "umask $(umask)"
echo "directory $(pwd)"
echo "descriptors" $(for file in /proc/$$/fd/*; do number=${file##*/}; [ "$number" -lt 10 ] && echo "$number"; done)
echo "input $(readlink /proc/self/fd/0)"
echo "cgroup" $(sed 's/^[0-9]*://' /proc/self/cgroup | sort | head -1)
echo "processes $(ls /proc | grep -c '^[0-9]')"
echo "interfaces" $(ls /sys/class/net)
echo "keys $(cat /proc/keys 2>/dev/null | wc -l)"
for path in /etc/hosts /etc/resolv.conf /etc/hostname; do
    echo "file.$path $(stat -c '%F %a %u:%g' "$path" 2>/dev/null)"
done
