package settings

import "hash/fnv"

var (
	qualities = [...]string{"able", "amber", "ample", "basalt", "blithe", "bold", "brave", "breezy", "bright", "brisk", "calm",
		"candid", "clear", "clever", "coral", "cosy", "crisp", "deft", "eager", "early", "fair", "firm", "fleet", "fresh",
		"gentle", "glad", "golden", "grand", "happy", "hardy", "keen", "kind", "lively", "lucid", "mellow", "merry", "mild",
		"neat", "nimble", "noble", "open", "patient", "plain", "proud", "quick", "quiet", "ready", "silver", "smooth",
		"snug", "solid", "spry", "steady", "still", "sturdy", "sunny", "swift", "tidal", "tidy", "trim", "true", "warm",
		"wise", "young"}
	things = [...]string{"anchor", "barge", "bay", "beacon", "boat", "bollard", "bow", "breeze", "buoy", "cabin", "canal",
		"capstan", "chart", "cleat", "coast", "compass", "cove", "crane", "current", "deck", "delta", "dock", "dune",
		"ferry", "fjord", "galley", "gull", "harbour", "haven", "helm", "heron", "hull", "island", "jetty", "keel",
		"lagoon", "lantern", "ledger", "mast", "mooring", "oar", "osprey", "otter", "pelican", "port", "prow", "quay",
		"raft", "reef", "rigging", "rudder", "sail", "sextant", "shoal", "skiff", "sloop", "sound", "spar", "tern", "tide",
		"tiller", "tug", "wharf", "yawl"}
)

// MakeName makes up a container's name from its identifier; another for each try, from the second with a number.
func MakeName(id string, try int) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	_, _ = h.Write([]byte{byte(try)})
	n := h.Sum32()
	name := qualities[n%uint32(len(qualities))] + "_" + things[n/97%uint32(len(things))]
	if try > 0 {
		name += string(rune('0' + n>>20%10))
	}
	return name
}
