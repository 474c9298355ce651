package completion

import (
	"os"
	"slices"
	"strings"

	known "github.com/moby/sys/signal"
	"github.com/spf13/cobra"
)

// environment offers the names of variables, for --env.
func environment(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		names = append(names, name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func signals() []string {
	var names []string
	for name := range known.SignalMap {
		if !strings.HasPrefix(name, "RT") {
			names = append(names, "SIG"+name)
		}
	}
	slices.Sort(names)
	return names
}

func ulimits() []string {
	var out []string
	for name := range strings.FieldsSeq("core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack") {
		out = append(out, name+"=")
	}
	return out
}

func capabilities() []string {
	return strings.Fields(`AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER
		FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON
		SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME
		SYS_TTY_CONFIG WAKE_ALARM`)
}

// filters are the keys of --filter by command, each with its values: words, or what names them.
func filters() map[string]map[string]string {
	const truth = "true false"
	ps := map[string]string{"ancestor": "images", "before": "containers", "exited": "0 1 137", "expose": "", "health": "healthy none starting unhealthy", "id": "", "is-task": truth,
		"label": "", "name": "containers", "network": "networks", "publish": "", "since": "containers", "status": "created dead exited paused removing restarting running", "volume": "volumes"}
	images := map[string]string{"before": "images", "dangling": truth, "label": "", "reference": "images", "since": "images", "until": ""}
	events := map[string]string{"container": "containers", "daemon": "", "event": "attach commit copy create destroy detach die exec_create exec_detach exec_die exec_start export health_status import kill load mount oom pause prune pull push reload rename resize restart save start stop tag top unmount unpause untag update",
		"image": "images", "label": "", "network": "networks", "scope": "local swarm", "type": "builder container daemon image network volume", "volume": "volumes"}
	prune := map[string]string{"label": "", "label!": "", "until": ""}
	return map[string]map[string]string{
		"ps": ps, "container ls": ps, "images": images, "image ls": images, "events": events, "system events": events,
		"network ls":      {"dangling": truth, "driver": "bridge host null", "id": "", "label": "", "name": "networks", "scope": "global local swarm", "type": "builtin custom"},
		"volume ls":       {"dangling": truth, "driver": "local", "label": "", "name": "volumes"},
		"container prune": prune, "image prune": prune, "network prune": prune, "system prune": prune, "volume prune": {"all": truth, "label": "", "label!": ""}, "builder prune": {"until": ""},
	}
}
