package request

import (
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/pflag"
)

// blockIO are the flags for single block devices, each DEVICE:NUMBER.
type blockIO struct{ weights, readBps, writeBps, readIOps, writeIOps []string }

func (b *blockIO) register(s *pflag.FlagSet) {
	s.VarP(List(&b.weights), "blkio-weight-device", "", "Block IO weight (relative device weight)")
	s.VarP(List(&b.readBps), "device-read-bps", "", "Limit read rate (bytes per second) from a device")
	s.VarP(List(&b.writeBps), "device-write-bps", "", "Limit write rate (bytes per second) to a device")
	s.VarP(List(&b.readIOps), "device-read-iops", "", "Limit read rate (IO per second) from a device")
	s.VarP(List(&b.writeIOps), "device-write-iops", "", "Limit write rate (IO per second) to a device")
}

// fill puts what the flags say into the request.
func (b *blockIO) fill(r *container.Resources) error {
	for _, word := range b.weights {
		device, weight, err := deviceNumber(word, func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 16) })
		if err != nil || weight != 0 && (weight < 10 || weight > 1000) {
			return invalid("invalid weight for device: %s: want DEVICE:WEIGHT with a weight between 10 and 1000", word)
		}
		r.BlkioWeightDevice = append(r.BlkioWeightDevice, &blkiodev.WeightDevice{Path: device, Weight: uint16(weight)})
	}
	bytes := func(s string) (uint64, error) {
		n, err := units.RAMInBytes(s)
		if err == nil && n < 0 {
			err = strconv.ErrRange
		}
		return uint64(n), err
	}
	count := func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }
	for _, rates := range []struct {
		words []string
		parse func(string) (uint64, error)
		what  string
		to    *[]*blkiodev.ThrottleDevice
	}{
		{b.readBps, bytes, "bytes, with a unit or without", &r.BlkioDeviceReadBps}, {b.writeBps, bytes, "bytes, with a unit or without", &r.BlkioDeviceWriteBps},
		{b.readIOps, count, "a positive number", &r.BlkioDeviceReadIOps}, {b.writeIOps, count, "a positive number", &r.BlkioDeviceWriteIOps},
	} {
		for _, word := range rates.words {
			device, rate, err := deviceNumber(word, rates.parse)
			if err != nil {
				return invalid("invalid rate for device: %s: want DEVICE:RATE, the rate in %s", word, rates.what)
			}
			*rates.to = append(*rates.to, &blkiodev.ThrottleDevice{Path: device, Rate: rate})
		}
	}
	return nil
}

func deviceNumber(word string, parse func(string) (uint64, error)) (device string, n uint64, err error) {
	device, number, ok := strings.Cut(word, ":")
	if !ok || !strings.HasPrefix(device, "/dev/") {
		return "", 0, strconv.ErrSyntax
	}
	n, err = parse(number)
	return device, n, err
}
