package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// importTypes are the formats of an import, by name and by a file's extension.
var importTypes = map[string]string{"csv": "text/csv", "json": "application/json", "ndjson": "application/x-ndjson", "jsonl": "application/x-ndjson"}

func deviceImport(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{Use: "import FILE", Short: "Register all devices of a CSV or JSON file, or none (- for standard input)", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format == "" {
				format = strings.TrimPrefix(strings.ToLower(filepath.Ext(args[0])), ".")
			}
			contentType, ok := importTypes[format]
			if !ok {
				return &usageError{"the format of the file is not known", "use --format csv, json or ndjson"}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			body, size := a.in, int64(0)
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("opening the import: %w", err)
				}
				defer f.Close()
				info, err := f.Stat()
				if err != nil {
					return fmt.Errorf("opening the import: %w", err)
				}
				body, size = f, info.Size()
			}
			bars := a.importBars(size)
			n, err := c.ImportDevices(cmd.Context(), bars.reading(body), contentType, bars.progress)
			bars.finish(err == nil)
			if err != nil {
				return nothingImported(err)
			}
			return a.say("imported", fmt.Sprint(n), "%d devices imported", n)
		}}
	cmd.Flags().StringVar(&format, "format", "", "csv, json or ndjson (default: by the file's name)")
	return cmd
}

// nothingImported says so where it is certain.
func nothingImported(err error) error {
	p, isProblem := errors.AsType[*adminapi.Problem](err)
	rows, isRows := errors.AsType[*adminapi.ImportError](err)
	switch {
	case isProblem && len(p.Errors) > 0:
		return fixing("correct the rows below and import the file again: nothing was imported", err)
	case isRows:
		return fixing("correct the rows below and import the file again: nothing was imported",
			fmt.Errorf("importing devices: rows that cannot be written: %d%w", len(rows.Rows), silent{err}))
	case isProblem:
		return err
	}
	return fixing("import again: devices that exist already are named then", err)
}

// silent wraps an error without its words.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

// importBars shows how far an import is; the zero value shows nothing.
type importBars struct {
	all                      *mpb.Progress
	upload, checked, written *mpb.Bar
}

// importBars draws on standard error, if that is a terminal.
func (a *app) importBars(size int64) *importBars {
	if !isTerminal(a.err) {
		return &importBars{}
	}
	b := &importBars{all: mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(40))}
	bar := func(name string, total int64) *mpb.Bar {
		return b.all.AddBar(total, mpb.PrependDecorators(decor.Name(name, decor.WC{W: 10, C: decor.DindentRight})),
			mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5})))
	}
	b.upload, b.checked, b.written = bar("uploaded", size), bar("checked", 0), bar("written", 0)
	return b
}

func (b *importBars) reading(r io.Reader) io.Reader {
	if b.all == nil {
		return r
	}
	counted, err := b.upload.ProxyReader(r)
	if err != nil {
		return r // the bar is done already: the bytes go on uncounted
	}
	return counted
}

func (b *importBars) progress(p adminapi.ImportProgress) {
	if b.all == nil {
		return
	}
	if p.Rows > 0 {
		b.checked.SetTotal(int64(p.Rows), false)
		b.written.SetTotal(int64(p.Rows), false)
	}
	if p.Checked > 0 {
		b.checked.SetCurrent(int64(p.Checked))
	}
	if p.Written > 0 {
		b.written.SetCurrent(int64(p.Written))
	}
}

// finish leaves the bars full, or takes them away.
func (b *importBars) finish(done bool) {
	if b.all == nil {
		return
	}
	for _, bar := range []*mpb.Bar{b.upload, b.checked, b.written} {
		if done {
			bar.SetTotal(-1, true)
		} else {
			bar.Abort(true)
		}
	}
	b.all.Wait()
}

func deviceExport(a *app) *cobra.Command {
	var filter device.Filter
	var format, out string
	cmd := &cobra.Command{Use: "export", Short: "Write devices as CSV or JSON, for import or a spreadsheet", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			return a.toFile(out, func(w io.Writer) error { return c.ExportDevices(cmd.Context(), filter, format, w) })
		}}
	filterFlags(cmd.Flags(), &filter)
	cmd.Flags().StringVar(&format, "format", "csv", "csv, json or ndjson")
	cmd.Flags().StringVar(&out, "out", "-", "file to write (- for standard output)")
	return cmd
}

// toFile gives write a file that gets its name only when all of it is there.
func (a *app) toFile(path string, write func(io.Writer) error) error {
	if path == "-" {
		return write(a.out)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*.part")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // after the rename there is nothing left to remove
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return a.say("written", path, "%s written", path)
}
