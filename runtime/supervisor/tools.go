package supervisor

import "pier/kernel/pipe"

// tools is what moving output needs while it moves. An idle task has none.
type tools struct {
	scratch *pipe.Scratch
	encoded []byte
}

// toolBox lends tools. It keeps a few for the next user.
type toolBox chan *tools

func (b toolBox) take() (*tools, error) {
	select {
	case t := <-b:
		return t, nil
	default:
	}
	s, err := pipe.NewScratch()
	if err != nil {
		return nil, err
	}
	return &tools{scratch: s}, nil
}

func (b toolBox) put(t *tools) {
	if cap(t.encoded) > 2*maxPortion {
		t.encoded = nil
	}
	select {
	case b <- t:
	default:
		t.scratch.Release()
	}
}

func (b toolBox) close() {
	for {
		select {
		case t := <-b:
			t.scratch.Release()
		default:
			return
		}
	}
}
