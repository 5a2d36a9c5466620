package server

import (
	"crypto/tls"
	"reflect"
	"unsafe"
)

// forgetHandshake drops what crypto/tls keeps of a finished handshake and never
// uses again on a server: the client's parsed certificates and the buffers of the
// handshake, about 9 KB of the 25 KB that an idle connection takes. The library
// has no call for it (its ConnectionState then knows no certificate any more, so
// the peer must be established before), so this reaches into its struct: a field
// that is not there, or not empty, is left alone, and a test says when a new Go
// version changes that. Nobody may use the connection meanwhile.
func forgetHandshake(c *tls.Conn) {
	v := reflect.ValueOf(c).Elem()
	for _, name := range []string{"peerCertificates", "verifiedChains", "ekm"} {
		clearField(v, name, nil)
	}
	empty := func(f reflect.Value) bool {
		n, ok := f.Addr().Interface().(interface{ Len() int })
		return ok && n.Len() == 0
	}
	if in := writable(v, "input"); in.IsValid() && empty(in) { // else it points into rawInput
		clearField(v, "rawInput", empty)
	}
	clearField(v, "hand", empty)
}

func writable(v reflect.Value, name string) reflect.Value {
	f := v.FieldByName(name)
	if !f.IsValid() {
		return f
	}
	return reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem()
}

func clearField(v reflect.Value, name string, only func(reflect.Value) bool) {
	if f := writable(v, name); f.IsValid() && (only == nil || only(f)) {
		f.SetZero()
	}
}
