package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/oauth2"

	"github.com/cyphonic/cyphonic/api/client"
)

type loginFlags struct {
	issuer, clientID, secretFile, caFile, listen string
	scopes                                       []string
	device, noBrowser                            bool
}

func (c *command) loginCommand() *cobra.Command {
	var flags loginFlags
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Log in at the OpenID provider of the installation",
		Long: `Log in at the OpenID provider of the installation. The tokens are kept in the configuration file, which its owner alone can read, and are refreshed by themselves.

The browser of this machine shows the provider's page and comes back to an address on the loopback interface (authorization code with PKCE). Where there is no browser,
--device prints an address and a code to enter on any other machine. Issuer and client are remembered; they are those that the managers are configured with.`,
		Example: `  cyphonicctl login --issuer https://id.example.org --client-id cyphonicctl
  cyphonicctl login
  cyphonicctl login --device`,
		Args:        cobra.NoArgs,
		Annotations: formats(""),
		RunE:        func(cmd *cobra.Command, _ []string) error { return c.login(cmd.Context(), flags) },
	}
	cmd.Flags().StringVar(&flags.issuer, "issuer", "", "URL of the OpenID provider (default: that of the last login)")
	cmd.Flags().StringVar(&flags.clientID, "client-id", "", "identifier of cyphonicctl at the provider (default: that of the last login)")
	cmd.Flags().StringVar(&flags.secretFile, "client-secret-file", "", "file with the secret of the client, where the provider gave one")
	cmd.Flags().StringVar(&flags.caFile, "ca-file", "", "PEM certificates that the provider's must descend from (default: those of the system)")
	cmd.Flags().StringSliceVar(&flags.scopes, "scope", []string{"profile", "email", "offline_access"}, "scopes to ask for besides openid")
	cmd.Flags().StringVar(&flags.listen, "listen", "127.0.0.1:0", "loopback address that the browser comes back to, where the provider insists on a port")
	cmd.Flags().BoolVar(&flags.device, "device", false, "log in with a browser on another machine (RFC 8628)")
	cmd.Flags().BoolVar(&flags.noBrowser, "no-browser", false, "print the address only")
	cmd.MarkFlagsMutuallyExclusive("device", "no-browser")
	return cmd
}

func (c *command) login(ctx context.Context, flags loginFlags) error {
	l, err := c.loadContext()
	if err != nil {
		return err
	}
	wanted, err := flags.session(l)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	p, err := findProvider(ctx, l, &wanted)
	if err != nil {
		return err
	}
	if flags.device {
		err = c.loginByDevice(ctx, p, &wanted)
	} else {
		err = c.loginByBrowser(ctx, p, &wanted, flags)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("nobody logged in within %s", loginTime)
	}
	if err != nil {
		return fmt.Errorf("log in at %s: %w", wanted.Issuer, err)
	}
	if err := saveSession(l, &wanted); err != nil {
		return err
	}
	l.OIDC = &wanted
	return c.greet(ctx, l)
}

// session is what is known before the login, out of the flags and of the last login.
func (f loginFlags) session(l loadedContext) (oidcSession, error) {
	wanted := oidcSession{Issuer: f.issuer, ClientID: f.clientID, Scopes: f.scopes, CAFile: f.caFile}
	if f.secretFile != "" {
		secret, err := os.ReadFile(f.secretFile)
		if err != nil {
			return oidcSession{}, &usageError{err}
		}
		wanted.ClientSecret = strings.TrimSpace(string(secret))
	}
	if last := l.OIDC; last != nil {
		if wanted.Issuer == "" && wanted.CAFile == "" {
			wanted.CAFile = last.CAFile
		}
		if wanted.Issuer == "" && wanted.ClientID == "" && wanted.ClientSecret == "" {
			wanted.ClientSecret = last.ClientSecret
		}
		wanted.Issuer = first(wanted.Issuer, last.Issuer)
		wanted.ClientID = first(wanted.ClientID, last.ClientID)
	}
	if wanted.Issuer == "" || wanted.ClientID == "" {
		return oidcSession{}, &usageError{errors.New("nobody has logged in here before: give --issuer and --client-id, as the managers are configured")}
	}
	if f.caFile != "" {
		path, err := absolute(f.caFile)
		if err != nil {
			return oidcSession{}, err
		}
		wanted.CAFile = path
	}
	return wanted, nil
}

func saveSession(l loadedContext, o *oidcSession) error {
	return changeConfiguration(l.path, func(config *configuration) error {
		saved, ok := config.context(l.Name)
		if !ok {
			return &usageError{fmt.Errorf("the context %s is no longer in %s", l.Name, l.path)}
		}
		saved.OIDC = o
		return nil
	})
}

// greet says as whom the managers know the user. The login is saved whatever they say.
func (c *command) greet(ctx context.Context, l loadedContext) error {
	manager, err := c.connectTo(l)
	if err != nil {
		return err
	}
	defer manager.Close()
	me, err := manager.Whoami(ctx)
	if err != nil {
		return fmt.Errorf("logged in at %s, but the manager does not take it: %w", l.OIDC.Issuer, err)
	}
	fmt.Fprintf(c.Stderr, "Logged in as %s until %s; refreshed by itself: %s.\n", subjectText(me), timeText(l.OIDC.Expiration), yesNo(l.OIDC.RefreshToken != ""))
	return nil
}

func (c *command) loginByDevice(ctx context.Context, p *provider, into *oidcSession) error {
	if p.config.Endpoint.DeviceAuthURL == "" {
		return errors.New("the provider has no device flow: log in without --device")
	}
	verifier := oauth2.GenerateVerifier()
	device, err := p.config.DeviceAuth(p.context(ctx), oauth2.S256ChallengeOption(verifier))
	if err != nil {
		return err
	}
	if device.VerificationURIComplete != "" {
		fmt.Fprintf(c.Stderr, "Open %s on any machine,\nor ", device.VerificationURIComplete)
	}
	fmt.Fprintf(c.Stderr, "open %s on any machine and enter the code %s\n", device.VerificationURI, c.paint(c.Stderr, styleHeading, device.UserCode))
	token, err := p.config.DeviceAccessToken(p.context(ctx), device, oauth2.VerifierOption(verifier))
	if err != nil {
		return err
	}
	return p.take(ctx, token, "", into)
}

func (c *command) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "logout",
		Short: "End the login at the OpenID provider",
		Long: `End the login at the OpenID provider: the refresh token is revoked there, where the provider can do that, and the tokens are taken out of the configuration file.
Issuer and client stay there for the next login.`,
		Example:     "  cyphonicctl logout",
		Args:        cobra.NoArgs,
		Annotations: formats(""),
		RunE:        func(cmd *cobra.Command, _ []string) error { return c.logout(cmd.Context()) },
	}
}

func (c *command) logout(ctx context.Context) error {
	l, err := c.loadContext()
	if err != nil {
		return err
	}
	if !l.OIDC.loggedIn() {
		fmt.Fprintf(c.Stderr, "Nobody is logged in as context %s.\n", l.Name)
		return nil
	}
	if err := revoke(ctx, l); err != nil {
		c.warn("the refresh token was not revoked at the provider: %v", err)
	}
	kept := *l.OIDC
	kept.IDToken, kept.RefreshToken, kept.Expiration = "", "", time.Time{}
	if err := saveSession(l, &kept); err != nil {
		return err
	}
	fmt.Fprintf(c.Stderr, "Logged out of context %s.\n", l.Name)
	return nil
}

// revoke ends the refresh token at the provider (RFC 7009).
func revoke(ctx context.Context, l loadedContext) error {
	if l.OIDC.RefreshToken == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, providerTime)
	defer cancel()
	p, err := findProvider(ctx, l, l.OIDC)
	if err != nil {
		return err
	}
	var offered struct {
		Endpoint string `json:"revocation_endpoint"`
	}
	if err := p.found.Claims(&offered); err != nil || offered.Endpoint == "" {
		return err
	}
	form := url.Values{"token": {l.OIDC.RefreshToken}, "token_type_hint": {"refresh_token"}, "client_id": {l.OIDC.ClientID}}
	if l.OIDC.ClientSecret != "" {
		form.Set("client_secret", l.OIDC.ClientSecret)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, offered.Endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", response.Status)
	}
	return nil
}

func (c *command) whoamiCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "whoami",
		Short:   "Show as whom the managers know this credential",
		Example: "  cyphonicctl whoami\n  cyphonicctl whoami -o json",
		Args:    cobra.NoArgs, Annotations: formats("table," + valueFormats + ",name"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withManager(func(manager *client.Client) error {
				me, err := manager.Whoami(cmd.Context())
				if err != nil {
					return err
				}
				switch c.output {
				case "json", "yaml":
					return c.printObject(me)
				case "name":
					_, err := fmt.Fprintln(c.Stdout, subjectText(me))
					return err
				}
				line := func(label, value string) { fmt.Fprintf(c.Stdout, "%-9s%s\n", label+":", orDash(value)) }
				line("Subject", subjectText(me))
				line("Groups", strings.Join(me.Groups, ", "))
				line("Roles", strings.Join(me.Roles, ", "))
				line("Until", timeText(me.ExpirationTimestamp))
				return nil
			})
		},
	}
}

// withManager connects, does one thing and closes.
func (c *command) withManager(do func(*client.Client) error) error {
	manager, err := c.connect()
	if err != nil {
		return err
	}
	defer manager.Close()
	return do(manager)
}
