package request

import (
	"encoding/csv"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// isDescribed reports whether a --device is the name of a described device, VENDOR/CLASS=NAME (Container Device
// Interface), and no path.
func isDescribed(s string) bool {
	kind, name, ok := strings.Cut(s, "=")
	vendor, class, qualified := strings.Cut(kind, "/")
	return ok && qualified && vendor != "" && class != "" && name != "" && !strings.Contains(class, "/")
}

// parseGPUs reads --gpus: "all", a number, or fields count, device, driver, capabilities and options, as a line of CSV.
func parseGPUs(s string) (container.DeviceRequest, error) {
	r := container.DeviceRequest{}
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return r, invalid("invalid argument %q for --gpus: %w", s, err)
	}
	seen := map[string]bool{}
	capabilities := []string{"gpu"}
	for _, field := range fields {
		key, value, given := strings.Cut(field, "=")
		if !given {
			key, value = "count", field
		}
		if seen[key] {
			return r, invalid("invalid argument %q for --gpus: key '%s' can be specified only once", s, key)
		}
		seen[key] = true
		switch key {
		case "driver":
			r.Driver = value
		case "count":
			if value == "all" {
				r.Count = -1
			} else if r.Count, err = strconv.Atoi(value); err != nil || r.Count < 0 {
				return r, invalid(`invalid argument %q for --gpus: count (%s): value must be either "all" or a number`, s, value)
			}
		case "device":
			r.DeviceIDs = strings.Split(value, ",")
		case "capabilities":
			capabilities = append(strings.Split(value, ","), capabilities...)
		case "options":
			r.Options = Map(strings.Split(value, ","))
		default:
			return r, invalid("invalid argument %q for --gpus: unexpected key '%s' in '%s'", s, key, field)
		}
	}
	if !seen["count"] && r.DeviceIDs == nil {
		r.Count = 1
	}
	r.Capabilities = [][]string{capabilities}
	return r, nil
}
