package sqlite

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/holdfast-iot/holdfast/server/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, storetest.Backend{
		New:  func(t *testing.T) string { return filepath.Join(t.TempDir(), "holdfast.db") },
		Open: Open,
		Raw:  func(where string) (*sql.DB, error) { return open(where, "_pragma=synchronous(off)", 1) },
	})
}
