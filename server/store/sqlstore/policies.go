package sqlstore

import (
	"context"
	"strconv"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
)

// PolicyVersion is a policy as it was applied. Versions begin with 1 and grow by
// one; the newest is active, and old ones are never changed or removed.
type PolicyVersion struct {
	Version   int64
	CreatedAt time.Time
	CreatedBy string
	Message   string
	SHA256    string // of Files, hex
	Size      int64  // of Files, in bytes
	Files     []byte // as the caller encoded them; nil in a listing
}

const policyColumns = `version, created_at, created_by, message, sha256, LENGTH(files)`

func scanPolicy(sc scanner, more ...any) (v PolicyVersion, err error) {
	var created int64
	err = sc.Scan(append([]any{&v.Version, &created, &v.CreatedBy, &v.Message, &v.SHA256, &v.Size}, more...)...)
	v.CreatedAt = fromMicros(created)
	return v, notFound(err)
}

// PolicyVersion returns a version with its files, or ErrNotFound; 0 is the active
// one.
func (s *Store) PolicyVersion(ctx context.Context, version int64) (PolicyVersion, error) {
	query := `SELECT ` + policyColumns + `, files FROM policy_version WHERE version = $1`
	if version == 0 {
		query = `SELECT ` + policyColumns + `, files FROM policy_version WHERE version > $1 ORDER BY version DESC LIMIT 1`
	}
	st, err := s.stmt(ctx, query)
	if err != nil {
		return PolicyVersion{}, err
	}
	var files []byte
	v, err := scanPolicy(st.QueryRowContext(ctx, version), &files)
	v.Files = files
	return v, err
}

// PolicyVersions lists versions below one (0: all) without their files, newest
// first, at most limit.
func (s *Store) PolicyVersions(ctx context.Context, before int64, limit int) (list []PolicyVersion, err error) {
	err = s.all(ctx, `SELECT `+policyColumns+` FROM policy_version WHERE version < $1 OR $1 = 0 ORDER BY version DESC LIMIT $2`, []any{before, limit}, func(sc scanner) error {
		v, err := scanPolicy(sc)
		list = append(list, v)
		return err
	})
	return list, err
}

// ApplyPolicy makes v the active policy and tells all nodes, if v.Version is the
// next after the one that is active; else ErrChanged.
func (s *Store) ApplyPolicy(ctx context.Context, v PolicyVersion, events ...audit.Event) error {
	return s.write(ctx, "policy.apply", events, func(t *tx) error {
		var active int64
		if err := t.row(`SELECT COALESCE(MAX(version), 0) FROM policy_version`, nil, &active); err != nil {
			return err
		}
		if active != v.Version-1 {
			return ErrChanged
		}
		if err := t.one(`INSERT INTO policy_version (version, created_at, created_by, message, sha256, files) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
			v.Version, micros(v.CreatedAt), v.CreatedBy, v.Message, v.SHA256, v.Files); err != nil {
			return err
		}
		_, err := bumpChange(t, ChangePolicy, strconv.FormatInt(v.Version, 10), v.CreatedAt)
		return err
	})
}
