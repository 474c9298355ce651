package link

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Flow is traffic whose destination the kernel translates: what is sent to From reaches To.
type Flow struct {
	Proto uint8 // IPPROTO_TCP and the like
	// From is the address that is written to; an unspecified one (0.0.0.0, ::) stands for every address.
	From netip.AddrPort
	// To is of the same family.
	To netip.AddrPort
}

// Forget makes the kernel forget the flows of these kinds that it tracks in the calling thread's network namespace (see
// Manager.Do): what comes next of one is judged anew, by the rules there are then. It looks through all that is tracked.
func Forget(flows []Flow) error {
	h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("forget connections: open a netlink socket: %w", err)
	}
	defer h.Close()
	var errs []error
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		var match forgotten
		for _, f := range flows {
			if f.From.Addr().Is4() == (family == unix.AF_INET) {
				match = append(match, f)
			}
		}
		if len(match) == 0 {
			continue
		}
		_, err := settled(func() ([]struct{}, error) {
			_, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, family, match)
			return nil, err
		})
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("forget connections: %w", err)
	}
	return nil
}

// forgotten is flows of one family, as the library asks for them.
type forgotten []Flow

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (list forgotten) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	asked, _ := netip.AddrFromSlice(c.Forward.DstIP)
	answers, _ := netip.AddrFromSlice(c.Reverse.SrcIP)
	from := netip.AddrPortFrom(asked.Unmap(), c.Forward.DstPort)
	to := netip.AddrPortFrom(answers.Unmap(), c.Reverse.SrcPort)
	for _, f := range list {
		if c.Forward.Protocol == f.Proto && to == f.To && from.Port() == f.From.Port() && (f.From.Addr().IsUnspecified() || from == f.From) {
			return true
		}
	}
	return false
}
