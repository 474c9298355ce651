package help

import "strings"

// Example is how a command is used, as lines for its help; "" where its name says it all. path is as in Names. Those of
// `container X` are those of X.
func Example(path []string) string {
	if len(path) < 2 {
		return ""
	}
	key := strings.TrimPrefix(strings.Join(path[1:], " "), "container ")
	lines := map[string]string{
		"attach":             "attach web                    ctrl-p ctrl-q leaves it running\nattach --no-stdin web",
		"checkpoint create":  "checkpoint create web before             ends it\ncheckpoint create --leave-running --checkpoint-dir /srv/checkpoints web before",
		"checkpoint ls":      "checkpoint ls web",
		"checkpoint rm":      "checkpoint rm web before",
		"create":             "create --name web -p 8080:80 nginx",
		"diff":               "diff web",
		"events":             "events --since 10m --filter container=web\nevents --format '{{.Time}} {{.Action}}'",
		"exec":               "exec -it web sh\nexec -e DEBUG=1 -u app web ./check",
		"export":             "export -o web.tar web",
		"history":            "history --no-trunc nginx",
		"images":             "images --filter dangling=true\nimages --format 'table {{.Repository}}\\t{{.Size}}'",
		"import":             "import root.tar base\nimport -c 'CMD [\"sh\"]' - base < root.tar.gz",
		"info":               "info -f '{{.CgroupVersion}}'",
		"inspect":            "inspect -f '{{.State.Status}}' web\ninspect --type volume data",
		"kill":               "kill -s HUP web",
		"load":               "load -i images.tar",
		"logs":               "logs -f --tail 100 web\nlogs --since 10m -t web",
		"ls":                 "container ls -a\ncontainer ls --filter status=exited -q",
		"pause":              "pause web worker",
		"port":               "port web\nport web 80/tcp",
		"prune":              "container prune --filter until=24h",
		"ps":                 "ps -a\nps --filter health=unhealthy --format 'table {{.Names}}\\t{{.Status}}'",
		"pull":               "pull nginx:1.27\npull --platform linux/arm64 nginx",
		"rename":             "rename web web-old",
		"restart":            "restart -t 30 web",
		"rm":                 "rm -f web\nrm -v $(pier ps -aq --filter status=exited)",
		"rmi":                "rmi nginx:1.26",
		"save":               "save -o images.tar nginx redis",
		"start":              "start web\nstart -ai job                 joins its streams\nstart --checkpoint before web",
		"stop":               "stop web\nstop -t 60 database",
		"tag":                "tag web:latest registry.example:5000/web:1.4",
		"unpause":            "unpause web",
		"version":            "version -f '{{.Server.Version}}'",
		"wait":               "wait job                      prints its exit code",
		"image ls":           "image ls --digests",
		"image prune":        "image prune -a --filter until=240h",
		"image rm":           "image rm nginx:1.26",
		"image inspect":      "image inspect -f '{{.Architecture}}' nginx",
		"network connect":    "network connect --alias db --ip 10.9.0.5 back database",
		"network create":     "network create --subnet 10.9.0.0/24 back\nnetwork create --internal --ipv6 --subnet fd00:9::/64 closed",
		"network disconnect": "network disconnect back web",
		"network inspect":    "network inspect -f '{{range .Containers}}{{.Name}} {{end}}' back",
		"network ls":         "network ls --filter driver=bridge",
		"network prune":      "network prune -f",
		"network rm":         "network rm back",
		"volume create":      "volume create data\nvolume create -o size=10g mail       where the disk has project quotas\nvolume create -o type=tmpfs -o device=tmpfs -o o=size=100m scratch",
		"volume inspect":     "volume inspect -f '{{.Mountpoint}}' data",
		"volume ls":          "volume ls --filter dangling=true",
		"volume prune":       "volume prune -a",
		"volume rm":          "volume rm data",
		"context ls":         "context ls --format json",
		"context inspect":    "context inspect far",
		"context update":     "context update far --docker host=ssh://me@other.example",
		"context use":        "context use far",
		"context rm":         "context rm far",
		"context export":     "context export far far.tar",
		"context import":     "context import far far.tar",
		"builder prune":      "builder prune -a --keep-storage 2gb",
		"system df":          "system df -v",
		"system prune":       "system prune -a --volumes",
	}
	for _, same := range []struct{ path, as string }{{"image history", "history"}, {"image import", "import"}, {"image load", "load"}, {"image pull", "pull"},
		{"image save", "save"}, {"image tag", "tag"}, {"system events", "events"}, {"system info", "info"}} {
		if key == same.path {
			key = same.as
		}
	}
	if lines[key] == "" {
		return ""
	}
	return "  " + path[0] + " " + strings.ReplaceAll(lines[key], "\n", "\n  "+path[0]+" ")
}
