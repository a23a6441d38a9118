package ctl

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/lockedfile"
	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/identity"
)

// configuration is the file that says which installations there are. It holds credentials: it must be readable by its owner alone.
type configuration struct {
	CurrentContext string           `json:"currentContext"` // name of the context that is used unless --context says otherwise
	Contexts       []managerContext `json:"contexts"`
}

// managerContext is one installation as one operator. Paths are relative to the configuration file.
type managerContext struct {
	Name            string       `json:"name"`
	Server          string       `json:"server"`                    // base URL of a manager, https://host:port
	Servers         []string     `json:"servers,omitempty"`         // base URLs of further managers of the installation, for when that one does not answer
	Trust           string       `json:"trust"`                     // trust.json of the installation
	Token           string       `json:"token,omitempty"`           // bearer token that does not change: of the administrator or of an APIToken
	CertificateFile string       `json:"certificateFile,omitempty"` // PEM certificate by which the managers know this machine
	KeyFile         string       `json:"keyFile,omitempty"`         // PEM key of it
	OIDC            *oidcSession `json:"oidc,omitempty"`            // a user that an OpenID provider vouches for
}

func (c *command) configFile() (string, error) {
	if c.configPath != "" {
		return c.configPath, nil
	}
	if path := c.Getenv("CYPHONIC_CONFIG"); path != "" {
		return path, nil
	}
	directory := c.Getenv("XDG_CONFIG_HOME")
	if directory == "" {
		home := c.Getenv("HOME")
		if home == "" {
			return "", errors.New("no configuration file: give --config")
		}
		directory = filepath.Join(home, ".config")
	}
	return filepath.Join(directory, "cyphonic", "config.yaml"), nil
}

// loadedContext is a context and the file that it is from.
type loadedContext struct {
	managerContext
	path string
}

func (c *command) loadContext() (loadedContext, error) {
	path, err := c.configFile()
	if err != nil {
		return loadedContext{}, &usageError{err}
	}
	config, err := readConfiguration(path)
	if err != nil {
		return loadedContext{}, &usageError{err}
	}
	name := c.contextName
	if name == "" {
		name = config.CurrentContext
	}
	chosen, ok := config.context(name)
	if !ok {
		return loadedContext{}, &usageError{fmt.Errorf("%s: there is no context %q: %s; choose with --context, or let `cyphonicctl init` write a file with one", path, name, config.choices())}
	}
	return loadedContext{*chosen, path}, nil
}

// context points into the configuration.
func (c configuration) context(name string) (*managerContext, bool) {
	i := slices.IndexFunc(c.Contexts, func(m managerContext) bool { return m.Name == name })
	if i < 0 {
		return nil, false
	}
	return &c.Contexts[i], true
}

func (c configuration) names() (names []string) {
	for _, context := range c.Contexts {
		names = append(names, context.Name)
	}
	return names
}

// choices says which contexts there are.
func (c configuration) choices() string {
	if len(c.Contexts) == 0 {
		return "there is none"
	}
	return "there are " + strings.Join(c.names(), ", ")
}

func readConfiguration(path string) (configuration, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return configuration{}, fmt.Errorf("no configuration file %s: name one with --config; `cyphonicctl init` makes one", path)
	}
	if err != nil {
		return configuration{}, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return configuration{}, fmt.Errorf("%s holds a token but others can read it: run `chmod 600 %s`", path, path)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return configuration{}, err
	}
	var config configuration
	if err := yaml.UnmarshalStrict(content, &config); err != nil {
		return configuration{}, fmt.Errorf("%s: %w", path, err)
	}
	return config, nil
}

// changeConfiguration reads the file, lets change work on it and writes it, while no other cyphonicctl does so. A file that does not exist is empty.
func changeConfiguration(path string, change func(*configuration) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	unlock, err := lockedfile.MutexAt(path + ".lock").Lock()
	if err != nil {
		return err
	}
	defer unlock()
	var config configuration
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if config, err = readConfiguration(path); err != nil {
			return &usageError{err}
		}
	}
	before, err := yaml.Marshal(config)
	if err != nil {
		return err
	}
	if err := change(&config); err != nil {
		return err
	}
	after, err := yaml.Marshal(config)
	if err != nil || bytes.Equal(before, after) {
		return err
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return writePrivate(path, after)
}

// writePrivate replaces a file in one step by one that its owner alone can read.
func writePrivate(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// resolve makes a path of the configuration file absolute or relative to the working directory.
func (l loadedContext) resolve(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(l.path), path)
}

func (c *command) connectTo(l loadedContext) (*client.Client, error) {
	fail := func(err error) (*client.Client, error) {
		return nil, &usageError{fmt.Errorf("context %s: %w", l.Name, err)}
	}
	trust, err := identity.LoadTrust(l.resolve(l.Trust))
	if err != nil {
		return fail(err)
	}
	options := client.Options{Server: l.Server, Servers: l.Servers, CA: trust.TLSCA, OnWarning: c.onWarning()}
	switch {
	case l.OIDC.loggedIn():
		options.Token = c.newSession(l).token
	case l.Token != "":
		options.Token = client.StaticToken(l.Token)
	case l.CertificateFile == "":
		return fail(errors.New("it has no credential: use the file that `cyphonicctl init` wrote, put the secret of an APIToken into its field token, or run `cyphonicctl login`"))
	}
	if l.CertificateFile != "" {
		certificate, err := tls.LoadX509KeyPair(l.resolve(l.CertificateFile), l.resolve(l.KeyFile))
		if err != nil {
			return fail(err)
		}
		options.Certificate = &certificate
	}
	manager, err := client.New(options)
	if err != nil {
		return fail(err)
	}
	return manager, nil
}

// onWarning prints each warning of the managers once.
func (c *command) onWarning() func(client.Warning) {
	var (
		mu   sync.Mutex
		said []string
	)
	return func(w client.Warning) {
		mu.Lock()
		defer mu.Unlock()
		about := w.Text
		if !w.StaleSince.IsZero() {
			about = w.Code // the time differs from answer to answer
		}
		if slices.Contains(said, about) || len(said) == maxWarnings {
			return
		}
		said = append(said, about)
		c.warn("%s", w.Text)
	}
}
