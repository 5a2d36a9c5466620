package server

import (
	"context"
	"crypto/rand"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// crlDue asks makeCRLs for a look.
func (s *Server) crlDue() {
	select {
	case s.crlWake <- struct{}{}:
	default:
	}
}

// makeCRLs keeps the CRL of each issuing CA whose key is here: a new one after
// each revocation and at the configured interval.
func (s *Server) makeCRLs(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		s.refreshCRLs(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-s.crlWake:
		case <-tick.C:
		}
	}
}

func (s *Server) refreshCRLs(ctx context.Context) {
	rows, err := s.store.CAs(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("reading the CAs for their CRLs", "err", err)
		}
		return
	}
	version, err := s.store.RevocationVersion(ctx)
	if err != nil {
		s.log.Warn("reading the version of changes", "err", err)
		return
	}
	for _, row := range rows {
		is := s.authority.Load().byID[row.ID]
		if is == nil || is.sign == nil {
			continue
		}
		age := s.cfg.CRL.Lifetime - s.cfg.CRL.Refresh
		if row.CRLNumber > 0 && row.CRLChange >= version && s.now().Add(age).Before(row.CRLUntil) {
			continue
		}
		if err := s.makeCRL(ctx, is, row, version); err != nil && !isChanged(err) && ctx.Err() == nil {
			s.log.Error("making a CRL", "ca", row.ID, "err", err)
		}
	}
}

// makeCRL lists what is revoked and not yet expired. An entry stays until a CRL
// after its certificate's end was made (RFC 5280 section 3.3).
func (s *Server) makeCRL(ctx context.Context, is *issuer, row sqlstore.CA, version int64) error {
	now := s.now()
	var entries []pki.Revoked
	err := s.store.Revoked(ctx, row.ID, now.Add(-2*s.cfg.CRL.Lifetime), func(r sqlstore.RevokedRow) error {
		serial, err := pki.ParseSerial(r.Serial)
		entries = append(entries, pki.Revoked{Serial: serial, At: r.At, Reason: r.Reason})
		return err
	})
	if err != nil {
		return err
	}
	next := now.Add(s.cfg.CRL.Lifetime)
	der, err := pki.BuildCRL(rand.Reader, is.sign, big.NewInt(row.CRLNumber+1), entries, now, next)
	if err != nil {
		return err
	}
	return s.store.StoreCRL(ctx, row.ID, row.CRLNumber+1, der, next, version)
}

// crls serves /crl/ID.crl and /ca/ID.cer, where ID is the first 16 digits of the
// CA's id. A list is read from the database once for each number.
type crls struct {
	s  *Server
	mu sync.Mutex
	at map[string]storedCRL // by CA id; guarded by mu
}

type storedCRL struct {
	number int64
	der    []byte
}

func (c *crls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSuffix(strings.TrimSuffix(r.PathValue("name"), ".crl"), ".cer")
	for id, is := range c.s.authority.Load().byID {
		if name != id[:16] {
			continue
		}
		if strings.HasPrefix(r.URL.Path, "/ca/") {
			w.Header().Set("Content-Type", "application/pkix-cert")
			w.Write(is.cert.Raw)
			return
		}
		der, err := c.current(r.Context(), id)
		if err != nil || der == nil {
			c.s.log.Warn("reading a CRL", "ca", id, "err", err)
			http.Error(w, "the revocation list is not available: try again later", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/pkix-crl")
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Write(der)
		return
	}
	http.Error(w, "no such CA: `holdfast ca list` shows them", http.StatusNotFound)
}

func (c *crls) current(ctx context.Context, id string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	have := c.at[id]
	number, der, err := c.s.store.CRL(ctx, id, have.number)
	if err != nil {
		return nil, err
	}
	if number != have.number {
		have = storedCRL{number, der}
		c.at[id] = have
	}
	return have.der, nil
}
