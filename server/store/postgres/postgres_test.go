package postgres

import (
	"database/sql"
	"testing"

	"github.com/holdfast-iot/holdfast/internal/pgtest"
	"github.com/holdfast-iot/holdfast/server/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, storetest.Backend{
		New:    func(t *testing.T) string { return pgtest.Database(t) },
		Open:   Open,
		Raw:    func(where string) (*sql.DB, error) { return sql.Open("pgx", where) },
		Shared: true,
	})
}
