package topics

import "slices"

const manyValues = 32 // more have an index

// set is distinct values that are quick to go through: one in place, some in a
// list, many in a list with an index by value.
type set[T comparable] struct {
	one  T
	has  bool // one is there; never with more
	more *list[T]
}

type list[T comparable] struct {
	values []T
	index  map[T]int32 // places in values; nil while they are few
}

func (s *set[T]) empty() bool { return !s.has && s.more == nil }

func (s *set[T]) appendTo(dst []T) []T {
	if s.more != nil {
		return append(dst, s.more.values...)
	}
	if s.has {
		return append(dst, s.one)
	}
	return dst
}

// add reports whether v is new.
func (s *set[T]) add(v T) bool {
	switch {
	case s.more != nil:
		return s.more.add(v)
	case !s.has:
		s.one, s.has = v, true
		return true
	case s.one == v:
		return false
	}
	first := s.one
	*s = set[T]{more: &list[T]{values: append(make([]T, 0, 2), first, v)}}
	return true
}

// remove reports whether v was there.
func (s *set[T]) remove(v T) bool {
	if s.more == nil {
		if !s.has || s.one != v {
			return false
		}
		*s = set[T]{}
		return true
	}
	if !s.more.remove(v) {
		return false
	}
	if len(s.more.values) == 1 {
		*s = set[T]{one: s.more.values[0], has: true}
	}
	return true
}

// find returns the place of v, or -1.
func (l *list[T]) find(v T) int {
	if l.index == nil {
		return slices.Index(l.values, v)
	}
	if i, ok := l.index[v]; ok {
		return int(i)
	}
	return -1
}

func (l *list[T]) add(v T) bool {
	if l.find(v) >= 0 {
		return false
	}
	l.values = append(l.values, v)
	switch n := len(l.values); {
	case l.index != nil:
		l.index[v] = int32(n - 1)
	case n > manyValues:
		l.index = make(map[T]int32, 2*n)
		for i, v := range l.values {
			l.index[v] = int32(i)
		}
	}
	return true
}

func (l *list[T]) remove(v T) bool {
	i := l.find(v)
	if i < 0 {
		return false
	}
	last := len(l.values) - 1
	moved := l.values[last]
	l.values[i] = moved
	clear(l.values[last:])
	l.values = l.values[:last]
	if l.index != nil {
		l.index[moved] = int32(i)
		delete(l.index, v)
		if last < manyValues/2 {
			l.index = nil
		}
	}
	if c := cap(l.values); c > 2*manyValues && last < c/4 {
		l.values = append(make([]T, 0, c/2), l.values...)
	}
	return true
}
