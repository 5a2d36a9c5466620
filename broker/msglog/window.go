package msglog

import "sync"

// window remembers which of the newest sequence numbers were delivered.
type window struct {
	mu   sync.Mutex
	bits [windowSize / 64]uint64
	top  uint64 // the highest delivered
	base uint64 // what was never ours to deliver: the log's end when it was opened

	marks [safeSeconds]uint64 // top, once a second
	turn  int
}

const (
	windowSize = 1 << 20
	// safeSeconds is how long after a loss it is noticed at the latest.
	safeSeconds = 20
)

func (w *window) start(seq uint64) {
	w.top, w.base = seq, seq
	for i := range w.marks {
		w.marks[i] = seq
	}
}

// next reports whether seq is above all that were delivered.
func (w *window) next(seq uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return seq > w.top
}

// mark remembers a delivery.
func (w *window) mark(seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if seq <= w.base || seq+windowSize <= w.top {
		return
	}
	if seq > w.top {
		if seq-w.top >= windowSize {
			clear(w.bits[:])
		} else {
			for s := w.top + 1; s <= seq; s++ {
				if s%64 == 0 && seq-s >= 64 { // a whole word
					w.bits[s%windowSize/64] = 0
					s += 63
					continue
				}
				w.bits[s%windowSize/64] &^= 1 << (s % 64)
			}
		}
		w.top = seq
	}
	w.bits[seq%windowSize/64] |= 1 << (seq % 64)
}

// has reports whether seq is known to have been delivered.
func (w *window) has(seq uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inside(seq) && w.bits[seq%windowSize/64]&(1<<(seq%64)) != 0
}

// lacks reports whether seq is known not to have been delivered although newer
// ones were.
func (w *window) lacks(seq uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inside(seq) && w.bits[seq%windowSize/64]&(1<<(seq%64)) == 0
}

func (w *window) inside(seq uint64) bool {
	return seq > w.base && seq <= w.top && seq+windowSize > w.top
}

// tick is called once a second.
func (w *window) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.marks[w.turn] = w.top
	w.turn = (w.turn + 1) % len(w.marks)
}

func (w *window) safe() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.marks[w.turn]
}

// Safe returns a sequence number before which, once missed was called, nothing
// can have been missed that had not been told of before: from there a session
// reads the log again. It lies some 20 s back.
func (l *Log) Safe() uint64 { return l.window.safe() }

// Delivered reports whether the live receiver is known to have got a message of
// the log: what reading again after missed may leave out. It knows the newest
// million.
func (l *Log) Delivered(seq uint64) bool { return l.window.has(seq) }
