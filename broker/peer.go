package broker

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/holdfast-iot/holdfast/policy"
)

// Peer is who is at the other end of a connection, as its transport proved it.
type Peer struct {
	Addr      netip.AddrPort
	Transport string            // mqtts or wss
	Principal *policy.Principal // of the client certificate; nil: there was none, a password is needed
	Serial    string            // of the client certificate
	NotAfter  time.Time         // end of the certificate or token; zero: no end
	Token     string            // what a password proved: the id of the token; set by the broker
}

// Passwords checks user name and password of connections without a certificate.
type Passwords interface {
	// Password returns whose they are. An error means no; ErrUnavailable that
	// nobody can tell now.
	Password(ctx context.Context, user string, password []byte, from netip.Addr) (Credential, error)
}

// Credential is what a password proved.
type Credential struct {
	Principal policy.Principal
	Token     string    // its id
	NotAfter  time.Time // when sessions opened with it end; zero: never
}

// Enhanced is one authentication method of MQTT 5 (section 4.12).
type Enhanced interface {
	// Begin starts an exchange for a connection, with the data of CONNECT.
	Begin(ctx context.Context, peer Peer, data []byte) (Exchange, error)
}

// Exchange is one authentication under way.
type Exchange interface {
	// Step takes the client's data and returns data for it. When done is true the
	// client is the principal returned. An error refuses it.
	Step(ctx context.Context, data []byte) (reply []byte, done bool, who policy.Principal, err error)
}

// netConner is what connections over others, such as TLS, have.
type netConner interface{ NetConn() net.Conn }

// rawConn returns the connection below TLS: closing it waits for nobody.
func rawConn(c net.Conn) net.Conn {
	for {
		inner, ok := c.(netConner)
		if !ok {
			return c
		}
		c = inner.NetConn()
	}
}

// owner names a principal in rows: kind/id.
func owner(p policy.Principal) string { return p.Kind + "/" + p.ID }

// patient reads from a connection and ends it when the client is silent for
// one and a half times its keep-alive (MQTT-3.1.2-22).
type patient struct {
	nc    net.Conn
	limit time.Duration // 0: the deadline that is set stays
	last  time.Time     // when the deadline was set
}

func (p *patient) Read(b []byte) (int, error) {
	if p.limit > 0 {
		// Setting a deadline costs more than reading the clock: an eighth of
		// the limit early does not matter.
		if now := time.Now(); now.Sub(p.last) > p.limit/8 {
			p.last = now
			p.nc.SetReadDeadline(now.Add(p.limit + p.limit/8))
		}
	}
	return p.nc.Read(b)
}

// keepAliveGrace is the silence that a keep-alive allows.
func keepAliveGrace(seconds uint16) time.Duration {
	return time.Duration(seconds) * time.Second * 3 / 2
}
