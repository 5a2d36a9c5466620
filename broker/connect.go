package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy"
)

// denied is a CONNECT that is not accepted.
type denied struct {
	code     mqtt.ReasonCode
	reason   string
	unproven bool // who it is was not proved: that counts against its source
}

func (d *denied) Error() string { return d.reason }

func deny(code mqtt.ReasonCode, format string, v ...any) error {
	return &denied{code: code, reason: fmt.Sprintf(format, v...)}
}

// ErrUnavailable is what Passwords return when they cannot tell.
var ErrUnavailable = errors.New("not available now")

// Admit tells whether a new connection from an address may go on, before anything
// is spent on it.
func (b *Broker) Admit(from netip.Addr) bool {
	if b.abuse.admits(from) {
		return true
	}
	b.stats.refusedConnections.Add(1)
	return false
}

// Serve takes a connection and closes it when it ends. It returns when the client
// is connected, or was refused: reading goes on in a goroutine of its own, whose
// stack has not grown by handshakes and decisions.
func (b *Broker) Serve(nc net.Conn, peer Peer) {
	taken := false
	defer func() {
		if !taken {
			nc.Close()
		}
	}()
	in := &patient{nc: nc}
	nc.SetReadDeadline(time.Now().Add(b.opt.ConnectTimeout))
	nc.SetWriteDeadline(time.Now().Add(b.opt.ConnectTimeout))
	r := mqtt.NewReader(in)
	r.SetSender(mqtt.Client)
	r.SetLimits(mqtt.Limits{PacketSize: b.opt.PacketSize})
	first, err := r.ReadPacket()
	if err != nil {
		b.garbled(nc, peer, r.Version(), err)
		return
	}
	c, ok := first.(*mqtt.Connect)
	if !ok {
		b.failed(peer.Addr) // MQTT-3.1.0-1; the Reader sees to it already
		return
	}
	s, present, err := b.connect(nc, peer, r, c)
	if err != nil {
		b.refuseConnect(nc, peer, c, err)
		return
	}
	in.limit = s.keep
	nc.SetReadDeadline(time.Time{})
	s.start(c, present)
	taken = true
	b.wg.Go(s.run)
}

// run reads until the connection ends.
func (s *session) run() {
	s.read()
	s.end()
}

// garbled ends a connection whose first packet could not be read.
func (b *Broker) garbled(nc net.Conn, peer Peer, v mqtt.Version, err error) {
	var bad *mqtt.Error
	if !errors.As(err, &bad) {
		return // it went away, or said nothing
	}
	b.failed(peer.Addr)
	b.report(Event{Kind: Malformed, Source: peer.Addr, Detail: bad.Error()})
	b.stats.malformed.Add(1)
	if v == 0 && bad.Code == mqtt.UnsupportedProtocolVersion {
		v = mqtt.V311
	}
	if v != 0 {
		b.connack(nc, v, &mqtt.Connack{Code: bad.Code}, bad.Error(), 0)
	}
}

// connack writes a refusal, of at most so many bytes (0: any).
func (b *Broker) connack(nc net.Conn, v mqtt.Version, a *mqtt.Connack, reason string, most int) {
	if v == mqtt.V311 {
		if a.Code = a.Code.Return311(); a.Code == 0 {
			return
		}
	} else if reason != "" {
		a.Props.SetBlob(mqtt.ReasonString, []byte(reason))
	}
	out, err := a.AppendTo(nil, v)
	if most > 0 && len(out) > most { // MQTT-3.2.2-19
		a.Props.ClearBlob(mqtt.ReasonString)
		out, err = a.AppendTo(nil, v)
	}
	if err != nil || most > 0 && len(out) > most {
		return
	}
	nc.Write(out)
	drain(nc)
}

// drain lets the other side read what was written before the connection is closed:
// one that is closed with bytes unread is reset, and takes the last packet along.
func drain(nc net.Conn) {
	closeWrite(nc)
	raw := rawConn(nc)
	raw.SetReadDeadline(time.Now().Add(closeGrace))
	var rest [4096]byte
	for range 256 {
		if _, err := raw.Read(rest[:]); err != nil {
			return
		}
	}
}

// refuseConnect answers a CONNECT that is not accepted (MQTT-3.1.4-2).
func (b *Broker) refuseConnect(nc net.Conn, peer Peer, c *mqtt.Connect, err error) {
	var d *denied
	if errors.Is(err, errDone) {
		return // the client left while it was being authenticated
	}
	if !errors.As(err, &d) {
		b.log.Error("connecting a client", "client", c.ClientID, "err", err)
		d = &denied{code: mqtt.ServerUnavailable, reason: "the session cannot be opened now: try again later"}
	}
	b.stats.refusedConnections.Add(1)
	if d.code != mqtt.ServerBusy && d.code != mqtt.ServerUnavailable && d.code != mqtt.ServerShuttingDown {
		e := Event{Kind: ConnectRefused, Client: c.ClientID, Source: peer.Addr, Code: d.code, Detail: d.reason}
		if peer.Principal != nil {
			e.Principal = *peer.Principal
		}
		b.report(e)
		if d.unproven {
			b.failed(peer.Addr)
		}
	}
	most, _ := c.Props.Number(mqtt.MaximumPacketSize)
	b.connack(nc, c.Version, &mqtt.Connack{Code: d.code}, d.reason, int(most))
}

// connect decides about a CONNECT and makes its session.
func (b *Broker) connect(nc net.Conn, peer Peer, r *mqtt.Reader, c *mqtt.Connect) (s *session, present bool, err error) {
	ctx, cancel := context.WithTimeout(b.life, b.opt.ConnectTimeout)
	defer cancel()
	if b.isClosing() {
		return nil, false, deny(mqtt.ServerUnavailable, "this server is shutting down") // CONNACK has no 0x8B
	}
	if b.count() >= b.opt.Sessions {
		return nil, false, deny(mqtt.ServerBusy, "this server has %d sessions, its limit", b.opt.Sessions)
	}
	if err := b.identify(ctx, nc, &peer, r, c); err != nil {
		if d := (*denied)(nil); errors.As(err, &d) {
			d.unproven = d.code != mqtt.ServerUnavailable
		}
		return nil, false, err
	}
	epoch := b.epoch.Load()
	who, err := b.cfg.Facts(ctx, peer)
	if err != nil {
		return nil, false, b.unknown(err)
	}
	peer.Principal = &who
	p := newPermit(b.cfg.Policy(), who)
	if err := b.nameClient(ctx, p, c); err != nil {
		return nil, false, err
	}
	if d := p.perms.Connect(c.ClientID); !d.Allowed {
		code := mqtt.NotAuthorized
		if d.Code == policy.ClientID {
			code = mqtt.ClientIDNotValid
		}
		return nil, false, deny(code, "%s", d.Error())
	}
	if wait := b.abuse.flapping(c.ClientID); wait > 0 {
		b.report(Event{Kind: Flapping, Principal: p.who, Client: c.ClientID, Source: peer.Addr})
		return nil, false, deny(mqtt.ConnectionRateExceeded, "it connected too often: wait %s", wait.Round(time.Second))
	}
	s = b.newSession(nc, peer, r, c, p)
	if err := s.takeWill(c); err != nil {
		return nil, false, err
	}
	if present, err = b.open(ctx, s, c); err == nil && b.epoch.Load() != epoch {
		s.recheck() // something changed while it was being let in
	}
	return s, present, err
}

// unknown is the answer when Facts refused.
func (b *Broker) unknown(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return deny(mqtt.ServerUnavailable, "the inventory cannot be asked now: try again later")
	}
	return deny(mqtt.NotAuthorized, "%v", err)
}

func (b *Broker) isClosing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closing
}

func (b *Broker) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.sessions)
}

// identify establishes the principal: by the certificate, an enhanced
// authentication, or user name and password.
func (b *Broker) identify(ctx context.Context, nc net.Conn, peer *Peer, r *mqtt.Reader, c *mqtt.Connect) error {
	if method, ok := c.Props.Blob(mqtt.AuthMethod); ok {
		return b.enhanced(ctx, nc, peer, r, c, string(method))
	}
	if peer.Principal != nil {
		return nil
	}
	if !c.HasUserName || !c.HasPassword || b.cfg.Passwords == nil {
		return deny(mqtt.NotAuthorized, "no identity: connect with a client certificate, or as an app with its name and a token")
	}
	cred, err := b.cfg.Passwords.Password(ctx, c.UserName, c.Password, peer.Addr.Addr())
	if errors.Is(err, ErrUnavailable) {
		return deny(mqtt.ServerUnavailable, "user name and password cannot be checked now: try again later")
	}
	if err != nil {
		return deny(mqtt.BadUserNameOrPassword, "user name or password is wrong")
	}
	peer.Principal, peer.Token, peer.NotAfter = &cred.Principal, cred.Token, cred.NotAfter
	return nil
}

// maxSteps bounds an enhanced authentication.
const maxSteps = 8

// enhanced runs an authentication exchange (MQTT 5 section 4.12). A certificate
// that was shown as well must be of the same principal.
func (b *Broker) enhanced(ctx context.Context, nc net.Conn, peer *Peer, r *mqtt.Reader, c *mqtt.Connect, method string) error {
	m, known := b.cfg.Enhanced[method]
	if !known {
		return deny(mqtt.BadAuthenticationMethod, "the authentication method %q is not known here", method)
	}
	data, _ := c.Props.Blob(mqtt.AuthData)
	x, err := m.Begin(ctx, *peer, data)
	for step := 0; err == nil && step < maxSteps; step++ {
		var reply []byte
		var done bool
		var who policy.Principal
		if reply, done, who, err = x.Step(ctx, data); err != nil {
			break
		}
		if done {
			if peer.Principal != nil && owner(*peer.Principal) != owner(who) {
				return deny(mqtt.NotAuthorized, "certificate and authentication are of different principals")
			}
			peer.Principal = &who
			if c.Props.ClearBlob(mqtt.AuthData); len(reply) > 0 {
				c.Props.SetBlob(mqtt.AuthData, reply) // remembered for CONNACK
			}
			return nil
		}
		next, failed := challenge(nc, r, method, reply)
		if failed != nil {
			return failed
		}
		data = next
	}
	if err == nil {
		return deny(mqtt.NotAuthorized, "the authentication did not end")
	}
	return deny(mqtt.NotAuthorized, "the authentication failed")
}

// challenge sends AUTH and reads the client's answer.
func challenge(nc net.Conn, r *mqtt.Reader, method string, data []byte) ([]byte, error) {
	a := mqtt.Auth{Code: mqtt.ContinueAuthentication}
	a.Props.SetBlob(mqtt.AuthMethod, []byte(method))
	a.Props.SetBlob(mqtt.AuthData, data)
	out, err := a.AppendTo(nil, mqtt.V5)
	if err != nil {
		return nil, err
	}
	if _, err := nc.Write(out); err != nil {
		return nil, err
	}
	p, err := r.ReadPacket()
	if err != nil {
		return nil, deny(mqtt.MalformedPacket, "the authentication was interrupted")
	}
	answer, ok := p.(*mqtt.Auth)
	if _, left := p.(*mqtt.Disconnect); left {
		return nil, errDone
	}
	if !ok || answer.Code != mqtt.ContinueAuthentication {
		return nil, deny(mqtt.ProtocolError, "AUTH was expected") // MQTT-3.1.2-30
	}
	if used, _ := answer.Props.Blob(mqtt.AuthMethod); string(used) != method {
		return nil, deny(mqtt.ProtocolError, "the authentication method changed") // MQTT-4.12.0-5
	}
	next, _ := answer.Props.Blob(mqtt.AuthData)
	return next, nil
}

// nameClient gives a client id to a client that sent none: its own name when that
// is free, else one under it (MQTT-3.1.3-6).
func (b *Broker) nameClient(ctx context.Context, p *permit, c *mqtt.Connect) error {
	if c.ClientID != "" {
		return nil
	}
	if c.Version == mqtt.V311 && !c.CleanStart {
		return deny(mqtt.ClientIDNotValid, "a session that lasts needs a client id") // MQTT-3.1.3-8
	}
	for _, id := range []string{p.who.ID + "/" + strings.ToLower(rand.Text()[:12]), p.who.ID} {
		if !p.perms.Connect(id).Allowed || b.session(id) != nil {
			continue
		}
		old, _, err := b.loadRow(ctx, id)
		if err != nil {
			return err
		}
		if old == nil || old.ended(b.now()) { // MQTT-3.2.2-16
			c.ClientID = id
			if c.Version == mqtt.V5 {
				c.Props.SetBlob(mqtt.AssignedClientID, []byte(id)) // remembered for CONNACK
			}
			return nil
		}
	}
	return deny(mqtt.ClientIDNotValid, "no client id could be assigned: use %q", p.who.ID)
}

func (b *Broker) session(id string) *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sessions[id]
}

// newSession makes a session from what CONNECT asks for, within the limits.
func (b *Broker) newSession(nc net.Conn, peer Peer, r *mqtt.Reader, c *mqtt.Connect, p *permit) *session {
	lim := p.perms.Limits()
	s := &session{
		b: b, id: c.ClientID, peer: peer, nc: nc, reader: r, version: c.Version, since: b.now(), problem: true,
		window: b.opt.Inflight, maxSize: 268_435_460,
		done: make(chan struct{}), gone: make(chan struct{}), room: make(chan struct{}, 1),
	}
	s.flushFn, s.flushing = s.flush, true // start lets it write
	s.permit.Store(p)
	s.in.limits(b.opt, lim)
	keep := c.KeepAlive
	if longest := b.opt.KeepAlive; keep == 0 || seconds(uint32(keep)) > longest {
		keep = uint16(min(longest/time.Second, 65535))
	}
	if c.Version == mqtt.V311 {
		keep = c.KeepAlive // it cannot be told another: MQTT 3.1.1 has no server keep-alive
	}
	s.keep = keepAliveGrace(keep)
	s.in.keepAlive = keep
	if c.Version == mqtt.V311 {
		if !c.CleanStart {
			s.expiry = uint32(min(b.expiryLimit(lim)/time.Second, never-1))
		}
	} else {
		s.expiry, _ = c.Props.Number(mqtt.SessionExpiry)
		s.expiry = b.limitExpiry(s.expiry, lim)
		if v, ok := c.Props.Number(mqtt.ReceiveMaximum); ok {
			s.window = min(s.window, int(v))
		}
		if v, ok := c.Props.Number(mqtt.MaximumPacketSize); ok {
			s.maxSize = min(s.maxSize, int(v))
		}
		if v, ok := c.Props.Number(mqtt.TopicAliasMaximum); ok {
			s.aliasMax = min(b.opt.TopicAliases, int(v))
		}
		if v, ok := c.Props.Number(mqtt.RequestProblemInfo); ok && v == 0 {
			s.problem = false // MQTT-3.1.2-29
		}
	}
	if method, ok := c.Props.Blob(mqtt.AuthMethod); ok {
		s.in.method = string(method)
	}
	s.persist = s.expiry > 0
	s.groupLife = b.groupLife(s.expiry)
	return s
}

func (b *Broker) expiryLimit(l policy.Limits) time.Duration {
	if l.SessionExpiry > 0 {
		return min(l.SessionExpiry, b.opt.SessionExpiry)
	}
	return b.opt.SessionExpiry
}

// limitExpiry is a session expiry that is not longer than allowed, in seconds.
func (b *Broker) limitExpiry(asked uint32, l policy.Limits) uint32 {
	return uint32(min(int64(asked), int64(b.expiryLimit(l)/time.Second)))
}

// start answers CONNECT and lets messages flow.
func (s *session) start(c *mqtt.Connect, present bool) {
	a := mqtt.Connack{SessionPresent: present}
	if s.version == mqtt.V5 {
		s.tell(&a, c)
	}
	s.mu.Lock()
	if s.ending {
		s.mu.Unlock()
		return
	}
	s.flushing = false // from now on; so CONNACK is the first (MQTT-3.2.0-1)
	s.sendLocked(&a)
	s.answered = !s.ending
	s.mu.Unlock()
	if present {
		s.resume()
	}
	s.b.stats.connects.Add(1)
}

// tell fills in what CONNACK says where it differs from what the client asked
// for or from the standard's default.
func (s *session) tell(a *mqtt.Connack, c *mqtt.Connect) {
	p, opt := &a.Props, s.b.opt
	if id, ok := c.Props.Blob(mqtt.AssignedClientID); ok {
		p.SetBlob(mqtt.AssignedClientID, id)
	}
	if asked, _ := c.Props.Number(mqtt.SessionExpiry); asked != s.expiry {
		p.SetNumber(mqtt.SessionExpiry, s.expiry)
	}
	if s.in.keepAlive != c.KeepAlive {
		p.SetNumber(mqtt.ServerKeepAlive, uint32(s.in.keepAlive))
	}
	p.SetNumber(mqtt.ReceiveMaximum, uint32(s.in.window))
	p.SetNumber(mqtt.MaximumPacketSize, uint32(s.in.packetSize))
	p.SetNumber(mqtt.TopicAliasMaximum, uint32(opt.TopicAliases))
	if method, ok := c.Props.Blob(mqtt.AuthMethod); ok {
		p.SetBlob(mqtt.AuthMethod, method) // MQTT-4.12.0-5
		if data, ok := c.Props.Blob(mqtt.AuthData); ok {
			p.SetBlob(mqtt.AuthData, data)
		}
	}
}
