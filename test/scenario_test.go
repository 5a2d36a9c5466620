package test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-iot/holdfast/internal/pgtest"
)

// TestScenarios runs every script on both databases.
func TestScenarios(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { testscript.Run(t, params("sqlite")) })
	t.Run("postgres", func(t *testing.T) { testscript.Run(t, params("postgres")) })
}

// params says what the scripts find: $DB names the database, $ROOT is the
// project's folder, and HOLDFAST_DATABASE leads every server to a database of
// the script's own. The condition [sqlite] is for what only files can show.
func params(db string) testscript.Params {
	return testscript.Params{
		Dir:                "scenarios",
		Cmds:               commands,
		RequireUniqueNames: true,
		Condition:          func(name string) (bool, error) { return name == db, nil },
		Setup: func(env *testscript.Env) error {
			root, err := filepath.Abs("..")
			if err != nil {
				return err
			}
			env.Setenv("ROOT", root)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("SOFTHSM2_MODULE", softHSM())
			env.Setenv("DB", db)
			if db == "postgres" {
				env.Setenv("HOLDFAST_DATABASE", pgtest.Database(env.T().(testing.TB)))
			}
			env.Values[serversKey{}] = map[string]*process{}
			return os.MkdirAll(filepath.Join(env.WorkDir, ".tmp"), 0o700)
		},
	}
}
