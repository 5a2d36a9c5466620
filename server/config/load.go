package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// MaxFile bounds the configuration file, in bytes.
const MaxFile = 1 << 20

// Load reads the configuration: defaults, then the file (none when file is
// empty), then the environment (entries as os.Environ gives them; an empty
// value counts as not given), then those of the flags that were set (nil: none).
// What follows from other fields is filled in.
//
// The error is of type Problems when the configuration is wrong, and holds all
// that is wrong with it.
func Load(file string, env []string, flags *pflag.FlagSet) (Config, error) {
	var data []byte
	if file != "" {
		var err error
		if data, err = readFile(file); err != nil {
			return Config{}, fmt.Errorf("reading the configuration: %w", err)
		}
	}
	return load(file, data, env, flags)
}

func readFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxFile {
		return nil, fmt.Errorf("%s has more than %d bytes", file, MaxFile)
	}
	return data, nil
}

// load is Load of a file's content.
func load(file string, data []byte, env []string, flags *pflag.FlagSet) (Config, error) {
	c := Default()
	fields := fieldsOf(&c)
	origins := map[string]string{}
	var problems Problems
	k := koanf.New(".")
	if file != "" {
		// The problems carry what Load would return as an error.
		_ = k.Load(content(data), yamlParser{file: file, fields: fields, origins: origins, problems: &problems})
	}
	fromEnv(fields, env, origins, &problems).into(k)
	fromFlags(fields, flags, origins).into(k)

	bad := map[string]bool{}
	for _, f := range fields {
		if !k.Exists(f.key) {
			continue
		}
		if err := f.set(k.Get(f.key)); err != nil {
			bad[f.key] = true
			problems.add(origins[f.key], f.key, "", "%s", f.explain(k.Get(f.key), err))
		}
	}
	checkFields(fields, bad, origins, &problems)
	if len(problems) == 0 {
		checkTogether(&c, origins, &problems)
	}
	if len(problems) > 0 {
		return Config{}, problems
	}
	return c.Complete(), nil
}

// explain puts the value before what is expected, unless it is a secret.
func (f field) explain(v any, err error) string {
	if s, ok := v.(string); ok && !f.secret {
		return fmt.Sprintf("%v, found %q", err, clip(s))
	}
	return err.Error()
}

// content is a koanf provider of bytes.
type content []byte

func (c content) ReadBytes() ([]byte, error) { return c, nil }
func (content) Read() (map[string]any, error) {
	return nil, errors.New("reading a configuration: it needs a parser")
}

// layer is a koanf provider of flat keys.
type layer map[string]any

func (layer) ReadBytes() ([]byte, error) {
	return nil, errors.New("reading a configuration layer: it has no bytes")
}

func (l layer) Read() (map[string]any, error) { return l, nil }

// into lays the keys over those that k has.
func (l layer) into(k *koanf.Koanf) {
	for key, v := range l {
		_ = k.Set(key, v) // fails only when the key and an inner key have the same name, which fieldsOf rules out
	}
}

// fromEnv takes HOLDFAST_… variables. Variables that are not ours but start
// alike (those that Kubernetes sets for a service named holdfast, or the ones
// of the command line) are left alone; one that looks like a misspelt key is
// refused.
func fromEnv(fields []field, env []string, origins map[string]string, problems *Problems) layer {
	byName := map[string]field{}
	names := make([]string, 0, len(fields))
	for _, f := range fields {
		byName[f.env()] = f
		names = append(names, f.env())
	}
	l := layer{}
	for _, entry := range env {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || !strings.HasPrefix(name, "HOLDFAST_") || value == "" {
			continue
		}
		f, known := byName[name]
		if !known {
			if near := nearestVariable(name, names); near != "" {
				problems.add("environment "+clip(name), "", "did you mean "+near+"?", "unknown variable")
			}
			continue
		}
		l[f.key] = value
		origins[f.key] = "environment " + name
	}
	return l
}

// otherVariables belong to the key store and the command line.
var otherVariables = map[string]bool{"HOLDFAST_KEY": true, "HOLDFAST_CONFIG": true, "HOLDFAST_SERVER": true,
	"HOLDFAST_CA": true, "HOLDFAST_TOKEN_FILE": true, "HOLDFAST_OUTPUT": true}

func nearestVariable(name string, names []string) string {
	if otherVariables[name] || len(name) > 100 {
		return ""
	}
	for _, n := range names {
		if distance(name, n) <= 2 {
			return n
		}
	}
	return ""
}

// fromFlags takes the flags that were set.
func fromFlags(fields []field, flags *pflag.FlagSet, origins map[string]string) layer {
	l := layer{}
	if flags == nil {
		return l
	}
	for _, f := range fields {
		if flag := flags.Lookup(f.flag()); flag != nil && flag.Changed {
			l[f.key] = flag.Value.String()
			origins[f.key] = "flag --" + f.flag()
		}
	}
	return l
}

// AddFlags adds a flag for every field that flags does not have yet. Values are
// judged by Load, so that they get the same messages as those of a file.
func AddFlags(flags *pflag.FlagSet) {
	c := Default()
	for _, f := range fieldsOf(&c) {
		switch {
		case flags.Lookup(f.flag()) != nil:
		case f.kind == boolean:
			flags.Bool(f.flag(), f.show() == "true", f.help)
		default:
			flags.String(f.flag(), f.show(), f.help)
		}
	}
}

// FlagNames lists the flags that AddFlags adds, in the order of the manual.
func FlagNames() []string {
	c := Default()
	var names []string
	for _, f := range fieldsOf(&c) {
		names = append(names, f.flag())
	}
	return names
}
