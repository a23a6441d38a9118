package ctl

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/api/client"
)

const redacted = "REDACTED"

func (c *command) configCommand() *cobra.Command {
	parent := &cobra.Command{
		Use:     "config",
		Short:   "Show and change the configuration file",
		Example: "  cyphonicctl config get-contexts\n  cyphonicctl config use-context factory",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return &usageError{errors.New("config needs a verb: get-contexts, current-context, use-context, set-context, delete-context or view")}
		},
	}
	parent.AddCommand(c.getContextsCommand(), c.currentContextCommand(), c.useContextCommand(), c.setContextCommand(), c.deleteContextCommand(), c.viewCommand())
	return parent
}

// readConfig reads the configuration file.
func (c *command) readConfig() (configuration, error) {
	path, err := c.configFile()
	if err != nil {
		return configuration{}, &usageError{err}
	}
	config, err := readConfiguration(path)
	if err != nil {
		return configuration{}, &usageError{err}
	}
	return config, nil
}

// changeConfig changes the configuration file.
func (c *command) changeConfig(change func(*configuration) error) error {
	path, err := c.configFile()
	if err != nil {
		return &usageError{err}
	}
	return changeConfiguration(path, change)
}

func (c *command) getContextsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "get-contexts", Short: "List the contexts", Args: cobra.NoArgs,
		Example:     "  cyphonicctl config get-contexts\n  cyphonicctl config get-contexts -o name",
		Annotations: formats("table,name"),
		RunE: func(*cobra.Command, []string) error {
			config, err := c.readConfig()
			if err != nil {
				return err
			}
			t := c.newTable("CURRENT", "NAME", "SERVER", "CREDENTIAL")
			for _, one := range config.Contexts {
				if c.output == "name" {
					fmt.Fprintln(c.Stdout, one.Name)
					continue
				}
				current := " "
				if one.Name == config.CurrentContext {
					current = "*"
				}
				t.add(current, one.Name, one.Server, one.credential())
			}
			if c.output == "name" {
				return nil
			}
			return t.flush()
		},
	}
}

// credential says in a word how the managers know the operator.
func (m managerContext) credential() string {
	switch {
	case m.OIDC.loggedIn():
		return "login"
	case m.Token != "":
		return "token"
	case m.CertificateFile != "":
		return "certificate"
	}
	return "none"
}

func (c *command) currentContextCommand() *cobra.Command {
	return &cobra.Command{
		Use: "current-context", Short: "Print the name of the current context", Args: cobra.NoArgs,
		Example:     "  cyphonicctl config current-context",
		Annotations: formats(""),
		RunE: func(*cobra.Command, []string) error {
			config, err := c.readConfig()
			if err != nil {
				return err
			}
			if config.CurrentContext == "" {
				return &usageError{errors.New("there is no current context: choose one with `cyphonicctl config use-context`")}
			}
			_, err = fmt.Fprintln(c.Stdout, config.CurrentContext)
			return err
		},
	}
}

func (c *command) useContextCommand() *cobra.Command {
	return &cobra.Command{
		Use: "use-context NAME", Short: "Make a context the current one", Args: cobra.ExactArgs(1),
		Example:           "  cyphonicctl config use-context factory",
		Annotations:       formats(""),
		ValidArgsFunction: c.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			err := c.changeConfig(func(config *configuration) error {
				if _, ok := config.context(args[0]); !ok {
					return &usageError{fmt.Errorf("there is no context %q: %s", args[0], config.choices())}
				}
				config.CurrentContext = args[0]
				return nil
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.Stdout, "Switched to context %q.\n", args[0])
			return err
		},
	}
}

type contextFlags struct {
	servers                                        []string
	trust, tokenFile, certificateFile, keyFile     string
	issuer, clientID, clientSecretFile, oidcCAFile string
	current                                        bool
}

func (c *command) setContextCommand() *cobra.Command {
	var flags contextFlags
	cmd := &cobra.Command{
		Use:   "set-context NAME",
		Short: "Make a context or change what the flags say of it",
		Long: `Make a context or change what the flags say of it. A token is read from a file, or from standard input with -, so that it is in no list of processes and no history.
Paths are kept absolute.`,
		Example: `  cyphonicctl config set-context factory --server https://203.0.113.10:7440 --server https://203.0.113.11:7440 --trust trust.json --token-file ci.token
  cyphonicctl config set-context factory --certificate-file ci.crt --key-file ci.key
  pass factory/token | cyphonicctl config set-context factory --token-file - --current`,
		Args:              cobra.ExactArgs(1),
		Annotations:       formats(""),
		ValidArgsFunction: c.completeContexts,
		RunE:              func(_ *cobra.Command, args []string) error { return c.setContext(args[0], flags) },
	}
	cmd.Flags().StringSliceVar(&flags.servers, "server", nil, "base URL of a manager, https://host:port; several times for several managers of one installation")
	cmd.Flags().StringVar(&flags.trust, "trust", "", "trust.json of the installation")
	cmd.Flags().StringVar(&flags.tokenFile, "token-file", "", "file with the token; - for standard input")
	cmd.Flags().StringVar(&flags.certificateFile, "certificate-file", "", "PEM certificate by which the managers know this machine")
	cmd.Flags().StringVar(&flags.keyFile, "key-file", "", "PEM key of the certificate")
	cmd.Flags().StringVar(&flags.issuer, "issuer", "", "URL of the OpenID provider for cyphonicctl login")
	cmd.Flags().StringVar(&flags.clientID, "client-id", "", "identifier of cyphonicctl at the provider")
	cmd.Flags().StringVar(&flags.clientSecretFile, "client-secret-file", "", "file with the secret of the client")
	cmd.Flags().StringVar(&flags.oidcCAFile, "oidc-ca-file", "", "PEM certificates that the provider's must descend from")
	cmd.Flags().BoolVar(&flags.current, "current", false, "make it the current context")
	cmd.MarkFlagsRequiredTogether("certificate-file", "key-file")
	return cmd
}

func (c *command) setContext(name string, flags contextFlags) error {
	set, err := c.contextSetter(flags)
	if err != nil {
		return err
	}
	verdict := "changed"
	err = c.changeConfig(func(config *configuration) error {
		one, ok := config.context(name)
		if !ok {
			verdict = "created"
			config.Contexts = append(config.Contexts, managerContext{Name: name})
			one = &config.Contexts[len(config.Contexts)-1]
		}
		set(one)
		if flags.current || config.CurrentContext == "" {
			config.CurrentContext = name
		}
		return one.check()
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "Context %q %s.\n", name, verdict)
	return err
}

// contextSetter reads what the flags name and returns what puts it into a context.
func (c *command) contextSetter(flags contextFlags) (func(*managerContext), error) {
	token, err := c.readSecret(flags.tokenFile)
	if err != nil {
		return nil, err
	}
	clientSecret, err := c.readSecret(flags.clientSecretFile)
	if err != nil {
		return nil, err
	}
	for _, path := range []*string{&flags.trust, &flags.certificateFile, &flags.keyFile, &flags.oidcCAFile} {
		if *path == "" {
			continue
		}
		if *path, err = absolute(*path); err != nil {
			return nil, err
		}
	}
	return func(m *managerContext) {
		if len(flags.servers) > 0 {
			m.Server, m.Servers = flags.servers[0], flags.servers[1:]
		}
		m.Trust = first(flags.trust, m.Trust)
		m.Token = first(token, m.Token)
		m.CertificateFile = first(flags.certificateFile, m.CertificateFile)
		m.KeyFile = first(flags.keyFile, m.KeyFile)
		if flags.issuer == "" && flags.clientID == "" && clientSecret == "" && flags.oidcCAFile == "" {
			return
		}
		o := oidcSession{} // a session at another provider is of no use
		if m.OIDC != nil {
			o = oidcSession{Issuer: m.OIDC.Issuer, ClientID: m.OIDC.ClientID, ClientSecret: m.OIDC.ClientSecret, Scopes: m.OIDC.Scopes, CAFile: m.OIDC.CAFile}
		}
		o.Issuer = first(flags.issuer, o.Issuer)
		o.ClientID = first(flags.clientID, o.ClientID)
		o.ClientSecret = first(clientSecret, o.ClientSecret)
		o.CAFile = first(flags.oidcCAFile, o.CAFile)
		m.OIDC = &o
	}, nil
}

// check finds what no connection could be made with.
func (m *managerContext) check() error {
	if m.Server == "" || m.Trust == "" {
		return &usageError{errors.New("a context needs --server and --trust")}
	}
	for _, server := range append([]string{m.Server}, m.Servers...) {
		if err := client.CheckServer(server); err != nil {
			return &usageError{err}
		}
	}
	return nil
}

func (c *command) deleteContextCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete-context NAME", Short: "Remove a context with its credentials", Args: cobra.ExactArgs(1),
		Example:           "  cyphonicctl config delete-context factory",
		Annotations:       formats(""),
		ValidArgsFunction: c.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			err := c.changeConfig(func(config *configuration) error {
				if _, ok := config.context(args[0]); !ok {
					return &usageError{fmt.Errorf("there is no context %q: %s", args[0], config.choices())}
				}
				config.Contexts = slices.DeleteFunc(config.Contexts, func(m managerContext) bool { return m.Name == args[0] })
				if config.CurrentContext == args[0] {
					config.CurrentContext = ""
					c.warn("%q was the current context: choose another with `cyphonicctl config use-context`", args[0])
				}
				return nil
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.Stdout, "Context %q deleted.\n", args[0])
			return err
		},
	}
}

func (c *command) viewCommand() *cobra.Command {
	return &cobra.Command{
		Use: "view", Short: "Print the configuration without its secrets", Args: cobra.NoArgs,
		Example:     "  cyphonicctl config view\n  cyphonicctl config view -o json",
		Annotations: formats(valueFormats),
		RunE: func(*cobra.Command, []string) error {
			config, err := c.readConfig()
			if err != nil {
				return err
			}
			for i := range config.Contexts {
				config.Contexts[i] = config.Contexts[i].redacted()
			}
			c.output = first(c.output, "yaml")
			return c.printObject(config)
		},
	}
}

// redacted is the context with something else for its secrets.
func (m managerContext) redacted() managerContext {
	hide := func(secret *string) {
		if *secret != "" {
			*secret = redacted
		}
	}
	hide(&m.Token)
	if m.OIDC != nil {
		o := *m.OIDC
		hide(&o.ClientSecret)
		hide(&o.IDToken)
		hide(&o.RefreshToken)
		m.OIDC = &o
	}
	return m
}
