package server

import (
	"net/http"

	"pier/lib/errkind"
)

// operationsNotServed are the operations of the published API description that this version of Pier does not have.
// They answer 501 with their name, so that nobody takes them for a wrong path.
var operationsNotServed = map[string]string{
	"GET /images/search":           "ImageSearch",
	"PUT /volumes/{name}":          "VolumeUpdate",
	"GET /plugins/privileges":      "GetPluginPrivileges",
	"POST /plugins/pull":           "PluginPull",
	"POST /plugins/create":         "PluginCreate",
	"GET /plugins/{name}/json":     "PluginInspect",
	"DELETE /plugins/{name}":       "PluginDelete",
	"POST /plugins/{name}/enable":  "PluginEnable",
	"POST /plugins/{name}/disable": "PluginDisable",
	"POST /plugins/{name}/upgrade": "PluginUpgrade",
	"POST /plugins/{name}/push":    "PluginPush",
	"POST /plugins/{name}/set":     "PluginSet",
	"POST /swarm/init":             "SwarmInit",
	"POST /swarm/join":             "SwarmJoin",
	"POST /session":                "Session",
	"POST /grpc":                   "BuildKit",
}

// operationsOfSwarm need a swarm manager, which this host is not.
var operationsOfSwarm = map[string]string{
	"GET /swarm":                 "SwarmInspect",
	"POST /swarm/leave":          "SwarmLeave",
	"POST /swarm/update":         "SwarmUpdate",
	"GET /swarm/unlockkey":       "SwarmUnlockkey",
	"POST /swarm/unlock":         "SwarmUnlock",
	"GET /nodes":                 "NodeList",
	"GET /nodes/{id}":            "NodeInspect",
	"DELETE /nodes/{id}":         "NodeDelete",
	"POST /nodes/{id}/update":    "NodeUpdate",
	"GET /services":              "ServiceList",
	"POST /services/create":      "ServiceCreate",
	"GET /services/{id}":         "ServiceInspect",
	"DELETE /services/{id}":      "ServiceDelete",
	"POST /services/{id}/update": "ServiceUpdate",
	"GET /services/{id}/logs":    "ServiceLogs",
	"GET /tasks":                 "TaskList",
	"GET /tasks/{id}":            "TaskInspect",
	"GET /tasks/{id}/logs":       "TaskLogs",
	"GET /secrets":               "SecretList",
	"POST /secrets/create":       "SecretCreate",
	"GET /secrets/{id}":          "SecretInspect",
	"DELETE /secrets/{id}":       "SecretDelete",
	"POST /secrets/{id}/update":  "SecretUpdate",
	"GET /configs":               "ConfigList",
	"POST /configs/create":       "ConfigCreate",
	"GET /configs/{id}":          "ConfigInspect",
	"DELETE /configs/{id}":       "ConfigDelete",
	"POST /configs/{id}/update":  "ConfigUpdate",
}

func notServed(operation string) handler {
	return func(http.ResponseWriter, *request) error {
		return errkind.New(errkind.Unsupported, "%s is not supported by this version of Pier", operation)
	}
}

func notInSwarm(http.ResponseWriter, *request) error {
	return errkind.New(errkind.Unavailable, "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.")
}
