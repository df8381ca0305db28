<?php
/**
 * Plugin Name:       Currency Ticker
 * Description:       Official exchange rates and their changes, from your own Currency ticker service: a block, a shortcode and oEmbed.
 * Version:           0.1.0
 * Requires at least: 6.1
 * Requires PHP:      7.4
 * License:           GPL-2.0-or-later
 * License URI:       https://www.gnu.org/licenses/gpl-2.0.html
 * Text Domain:       currency-ticker
 *
 * @package Currency_Ticker
 */

namespace Currency_Ticker;

defined( 'ABSPATH' ) || exit;

const OPTION = 'currency_ticker_url';
const PAGE   = 'currency-ticker';

/** Options with a fixed set of values. The service falls back to its default for every other value. */
const CHOICES = array(
	'theme'  => array( 'auto', 'system', 'light', 'dark', 'transparent' ),
	'layout' => array( 'strip', 'list', 'tape' ),
	'period' => array( 'day', 'week', 'month', 'year', 'ytd' ),
);

/** Values that `show` lists, separated by commas. */
const SHOWN_VALUES = array( 'rate', 'buy', 'sell', 'change', 'percent' );

/** Options that are on or off. */
const FLAGS = array( 'spark', 'live' );

/** Patterns of the options of style, which become custom properties of the element. */
const STYLE = array(
	'surface' => '[0-9a-f]{6}',
	'ink'     => '[0-9a-f]{6}',
	'up'      => '[0-9a-f]{6}',
	'down'    => '[0-9a-f]{6}',
	'size'    => '1[2-9]|2[0-4]',
	'radius'  => '1?[0-9]|2[0-4]',
	'font'    => 'system|serif|mono',
	'speed'   => '[1-9][0-9]|1[01][0-9]|120',
);

/** Font families by the values of `font`; others keep that of the element. */
const FAMILIES = array(
	'serif' => 'Georgia,serif',
	'mono'  => 'ui-monospace,monospace',
);

/** Longest list of currencies. */
const MAX_CURRENCIES = 50;

add_action( 'init', __NAMESPACE__ . '\register' );
add_action( 'admin_init', __NAMESPACE__ . '\register_settings' );
add_action( 'admin_menu', __NAMESPACE__ . '\add_settings_page' );
add_action( 'enqueue_block_editor_assets', __NAMESPACE__ . '\add_editor_data' );
add_filter( 'plugin_action_links_' . plugin_basename( __FILE__ ), __NAMESPACE__ . '\add_settings_link' );
add_filter( 'script_loader_tag', __NAMESPACE__ . '\load_as_module', 10, 3 );
add_filter( 'http_request_host_is_external', __NAMESPACE__ . '\allow_oembed_host', 10, 3 );
add_filter( 'http_allowed_safe_ports', __NAMESPACE__ . '\allow_oembed_port', 10, 3 );

/**
 * Register the shortcode, the block and the oEmbed provider.
 */
function register(): void {
	wp_register_style( 'currency-ticker', plugins_url( 'style.css', __FILE__ ), array(), '0.1.0' );
	wp_style_add_data( 'currency-ticker', 'path', __DIR__ . '/style.css' ); // WordPress then inlines it, without a request.
	wp_register_script(
		'currency-ticker-editor',
		plugins_url( 'block/editor.js', __FILE__ ),
		array( 'wp-blocks', 'wp-block-editor', 'wp-components', 'wp-element', 'wp-i18n' ),
		'0.1.0',
		true
	);
	wp_set_script_translations( 'currency-ticker-editor', 'currency-ticker' );
	register_block_type( __DIR__ . '/block', array( 'render_callback' => __NAMESPACE__ . '\render_block' ) );
	add_shortcode( 'currency_ticker', __NAMESPACE__ . '\render_shortcode' );

	$service = service_url();
	if ( '' !== $service ) {
		wp_oembed_add_provider( '#^' . preg_quote( $service, '#' ) . '/embed(\?.*)?$#', "$service/oembed", true );
	}
}

/**
 * Return the URL of the service without a slash at its end, or '' if it is not set.
 */
function service_url(): string {
	return valid_url( get_option( OPTION, '' ) );
}

/**
 * Return the URL of a service in its normal form, or '' if it is not valid.
 *
 * HTTPS is required, since browsers load no script over HTTP in a page over HTTPS. A loopback host may use HTTP.
 *
 * @param mixed $text A URL as entered.
 */
function valid_url( $text ): string {
	$parts = is_string( $text ) ? wp_parse_url( rtrim( trim( $text ), '/' ) ) : false;
	if ( ! is_array( $parts ) || array_diff_key( $parts, array_flip( array( 'scheme', 'host', 'port', 'path' ) ) ) ) {
		return '';
	}
	$scheme   = strtolower( $parts['scheme'] ?? '' );
	$host     = strtolower( $parts['host'] ?? '' );
	$port     = $parts['port'] ?? 0;
	$path     = $parts['path'] ?? '';
	$loopback = preg_match( '/^(localhost|127(\.\d{1,3}){3}|\[::1\])$/D', $host );
	if (
		! ( 'https' === $scheme || ( 'http' === $scheme && $loopback ) )
		|| ! preg_match( '/^([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])$/D', $host )
		|| ! preg_match( '#^(/[A-Za-z0-9._~-]+)*$#D', $path )
	) {
		return '';
	}
	return "$scheme://$host" . ( $port ? ":$port" : '' ) . $path;
}

/**
 * Split options into valid ones, normalised, and the names of those with an invalid value.
 *
 * Default values and empty ones are left out; unknown names are ignored.
 *
 * @param array $given Options of a block or a shortcode, by name.
 * @return array{0: array<string, string>, 1: string[]} Attributes of the element by name; names of invalid options.
 */
function parse_options( array $given ): array {
	$valid   = array();
	$invalid = array();
	$texts   = array();
	foreach ( array( 'ticker', 'currencies', 'lang', 'theme', 'layout', 'show', 'period' ) as $name ) {
		$value = $given[ $name ] ?? '';
		$value = is_scalar( $value ) ? trim( (string) $value ) : '';
		if ( '' !== $value ) {
			$texts[ $name ] = 'lang' === $name ? $value : strtolower( $value );
		}
	}

	foreach ( $texts as $name => $value ) {
		$words = preg_split( '/[\s,]+/', $value, -1, PREG_SPLIT_NO_EMPTY );
		switch ( $name ) {
			case 'ticker':
				$accepted = preg_match( '/^[a-z0-9_-]{1,64}$/D', $value );
				break;
			case 'currencies':
				$accepted = count( $words ) <= MAX_CURRENCIES && preg_grep( '/^[a-z]{3}$/D', $words ) === $words;
				$value    = implode( ',', array_unique( $words ) );
				break;
			case 'lang':
				$accepted = preg_match( '/^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8}){0,4}$/D', $value );
				$value    = str_replace( '_', '-', $value );
				break;
			case 'show':
				$accepted = ! array_diff( $words, SHOWN_VALUES );
				$value    = implode( ',', array_intersect( SHOWN_VALUES, $words ) );
				break;
			default:
				$accepted = in_array( $value, CHOICES[ $name ], true );
		}
		if ( ! $accepted ) {
			$invalid[] = $name;
		} elseif ( '' !== $value && ( CHOICES[ $name ][0] ?? null ) !== $value ) {
			$valid[ $name ] = $value;
		}
	}

	foreach ( FLAGS as $name ) {
		// A shortcode may name a flag without a value: [currency_ticker live].
		$value = $given[ $name ] ?? in_array( $name, array_filter( $given, 'is_int', ARRAY_FILTER_USE_KEY ), true );
		if ( wp_validate_boolean( is_string( $value ) && 'no' === strtolower( $value ) ? false : $value ) ) {
			$valid[ $name ] = '';
		}
	}

	$style = array();
	foreach ( STYLE as $name => $pattern ) {
		$value = $given[ $name ] ?? '';
		$value = is_scalar( $value ) ? strtolower( ltrim( trim( (string) $value ), '#' ) ) : '';
		if ( preg_match( "/^($pattern)$/D", $value ) ) {
			$style[ $name ] = $value;
		} elseif ( '' !== $value ) {
			$invalid[] = $name;
		}
	}
	$properties = custom_properties( $style );
	if ( '' !== $properties ) {
		$valid['style'] = $properties;
	}
	return array( $valid, $invalid );
}

/**
 * Return the custom properties of the element as CSS.
 *
 * @param array<string, string> $style Valid options of style by name.
 */
function custom_properties( array $style ): string {
	$values = array();
	foreach ( array( 'surface', 'ink', 'up', 'down' ) as $name ) {
		if ( isset( $style[ $name ] ) ) {
			$values[ $name ] = "#$style[$name]";
		}
	}
	if ( isset( $values['surface'], $values['ink'] ) ) {
		// The other neutral colours are mixed from these two, so that they fit.
		$values['soft'] = "color-mix(in srgb,$values[ink] 75%,$values[surface])";
		$values['line'] = "color-mix(in srgb,$values[ink] 15%,$values[surface])";
		$values['warn'] = $values['ink'];
	}
	$family = FAMILIES[ $style['font'] ?? '' ] ?? '';
	if ( '' !== $family ) {
		$values['family'] = $family;
	}
	foreach ( array( 'size' => 'px', 'radius' => 'px', 'speed' => 's' ) as $name => $unit ) {
		if ( isset( $style[ $name ] ) ) {
			$values[ $name ] = $style[ $name ] . $unit;
		}
	}
	$properties = '';
	foreach ( $values as $name => $value ) {
		$properties .= "--ticker-$name:$value;";
	}
	return rtrim( $properties, ';' );
}

/**
 * Return the element, and load its script and style sheet once in the page.
 *
 * @param array $given Options of a block or a shortcode, by name.
 */
function render( array $given ): string {
	$service = service_url();
	if ( '' === $service ) {
		return current_user_can( 'manage_options' ) ? missing_url_notice() : '';
	}
	list( $options, $invalid ) = parse_options( $given );
	load_script( "$service/embed.js" );
	wp_enqueue_style( 'currency-ticker' );

	$attributes = '';
	foreach ( $options as $name => $value ) {
		$attributes .= '' === $value ? " $name" : sprintf( ' %s="%s"', $name, esc_attr( $value ) );
	}
	// The page of the service shows the same rates and changes without a script.
	$query    = array_intersect_key( $options, array_flip( array( 'ticker', 'currencies', 'lang', 'period' ) ) );
	$fallback = sprintf(
		'<a href="%s">%s</a>',
		esc_url( "$service/embed" . ( $query ? '?' . build_query( $query ) : '' ) ),
		esc_html__( 'Exchange rates', 'currency-ticker' )
	);
	$comment  = $invalid ? '<!-- currency-ticker: invalid value of ' . esc_html( implode( ', ', $invalid ) ) . ' -->' : '';
	return "$comment<currency-ticker$attributes>$fallback</currency-ticker>";
}

/**
 * Render the block.
 *
 * @param array $attributes Attributes of the block.
 */
function render_block( array $attributes ): string {
	$ticker = render( $attributes );
	return '' === $ticker ? '' : '<div ' . get_block_wrapper_attributes() . ">$ticker</div>";
}

/**
 * Render the shortcode.
 *
 * @param array|string $attributes Attributes of the shortcode; an empty string if it has none.
 */
function render_shortcode( $attributes ): string {
	return render( is_array( $attributes ) ? $attributes : array() );
}

/**
 * Return a notice for administrators; visitors see nothing until the URL is set.
 */
function missing_url_notice(): string {
	return sprintf(
		'<p><a href="%s">%s</a></p>',
		esc_url( settings_page_url() ),
		esc_html__( 'Currency ticker: set the URL of your service.', 'currency-ticker' )
	);
}

/**
 * Enqueue the script of the element. It is a module; WordPress enqueues modules from 6.5 on, and in its
 * administration only later.
 *
 * @param string $url URL of the script.
 */
function load_script( string $url ): void {
	if ( function_exists( 'wp_enqueue_script_module' ) && ! is_admin() ) {
		wp_enqueue_script_module( 'currency-ticker', $url, array(), null );
	} else {
		// The URL has no version: the service states how long it may be cached.
		wp_enqueue_script( 'currency-ticker', $url, array(), null, true ); // phpcs:ignore WordPress.WP.EnqueuedResourceParameters.MissingVersion
	}
}

/**
 * Load the script as a module where WordPress has enqueued it as a classic script.
 *
 * @param string $tag    The script tag.
 * @param string $handle Handle of the script.
 * @param string $src    URL of the script.
 */
function load_as_module( $tag, $handle, $src ) {
	if ( 'currency-ticker' !== $handle ) {
		return $tag;
	}
	return wp_get_script_tag(
		array(
			'type' => 'module',
			'src'  => $src,
			'id'   => 'currency-ticker-js',
		)
	);
}

/**
 * Pass what the preview of the block needs to the editor.
 */
function add_editor_data(): void {
	$service = service_url();
	$data    = array(
		'script'   => '' === $service ? '' : "$service/embed.js",
		'lang'     => get_bloginfo( 'language' ),
		'settings' => current_user_can( 'manage_options' ) ? settings_page_url() : '',
	);
	wp_add_inline_script(
		'currency-ticker-editor',
		'window.currencyTicker = ' . wp_json_encode( $data, JSON_HEX_TAG | JSON_HEX_AMP ) . ';',
		'before'
	);
}

/**
 * Allow oEmbed requests to the service if its host is in a private network.
 *
 * WordPress refuses such hosts, since authors choose the URLs of oEmbed. An administrator chose this one.
 *
 * @param bool   $external Whether the host is external.
 * @param string $host     Host of the request.
 * @param string $url      URL of the request.
 */
function allow_oembed_host( $external, $host, $url ) {
	return $external || is_oembed_url( $url );
}

/**
 * Allow oEmbed requests to the port of the service; WordPress allows 80, 443 and 8080.
 *
 * @param int[]  $ports Allowed ports.
 * @param string $host  Host of the request.
 * @param string $url   URL of the request.
 */
function allow_oembed_port( $ports, $host = '', $url = '' ) {
	return is_oembed_url( $url ) ? array_merge( $ports, array( (int) wp_parse_url( $url, PHP_URL_PORT ) ) ) : $ports;
}

/**
 * Return whether a URL is that of the oEmbed endpoint of the service.
 *
 * @param mixed $url A URL.
 */
function is_oembed_url( $url ): bool {
	$service = service_url();
	return '' !== $service && is_string( $url ) && 0 === strpos( $url, "$service/oembed?" );
}

/**
 * Register the setting with its form.
 */
function register_settings(): void {
	register_setting(
		PAGE,
		OPTION,
		array(
			'type'              => 'string',
			'default'           => '',
			'sanitize_callback' => __NAMESPACE__ . '\sanitize_url',
		)
	);
	add_settings_section( 'default', '', '__return_null', PAGE );
	add_settings_field(
		OPTION,
		__( 'URL of the service', 'currency-ticker' ),
		__NAMESPACE__ . '\render_field',
		PAGE,
		'default',
		array( 'label_for' => OPTION )
	);
}

/**
 * Return the URL to save: the entered one, or the saved one with an error message if the entered one is not valid.
 *
 * @param mixed $text The text as entered.
 */
function sanitize_url( $text ): string {
	$url = valid_url( $text );
	if ( '' === $url && is_string( $text ) && '' !== trim( $text ) ) {
		add_settings_error(
			OPTION,
			'invalid',
			__( 'The URL of the service must be like https://ticker.example, without a query. http is possible only for this computer, e.g. http://127.0.0.1:8080.', 'currency-ticker' )
		);
		return service_url();
	}
	return $url;
}

/**
 * Add the page to the menu Settings.
 */
function add_settings_page(): void {
	$title = __( 'Currency Ticker', 'currency-ticker' );
	add_options_page( $title, $title, 'manage_options', PAGE, __NAMESPACE__ . '\render_settings_page' );
}

/**
 * Return the URL of the settings page.
 */
function settings_page_url(): string {
	return admin_url( 'options-general.php?page=' . PAGE );
}

/**
 * Add a link to the settings to the list of plugins.
 *
 * @param string[] $links Links of the plugin.
 * @return string[]
 */
function add_settings_link( $links ) {
	$link = sprintf( '<a href="%s">%s</a>', esc_url( settings_page_url() ), esc_html__( 'Settings', 'currency-ticker' ) );
	return array_merge( array( $link ), $links );
}

/**
 * Print the field of the URL.
 */
function render_field(): void {
	printf(
		'<input type="url" id="%1$s" name="%1$s" value="%2$s" class="regular-text code" placeholder="https://ticker.example" aria-describedby="%1$s-help"><p class="description" id="%1$s-help">%3$s</p>',
		esc_attr( OPTION ),
		esc_attr( service_url() ),
		esc_html__( 'Browsers of visitors load the ticker from this URL. It receives no cookies, and nothing is loaded from anywhere else.', 'currency-ticker' )
	);
}

/**
 * Print the settings page: the form, and the ticker as visitors see it.
 */
function render_settings_page(): void {
	if ( ! current_user_can( 'manage_options' ) ) {
		return;
	}
	echo '<div class="wrap"><h1>' . esc_html( get_admin_page_title() ) . '</h1><form action="options.php" method="post">';
	settings_fields( PAGE );
	do_settings_sections( PAGE );
	submit_button();
	echo '</form>';
	if ( '' !== service_url() ) {
		echo '<h2>' . esc_html__( 'Preview', 'currency-ticker' ) . '</h2>';
		// Every part is escaped in render().
		echo render( array( 'lang' => get_bloginfo( 'language' ) ) ); // phpcs:ignore WordPress.Security.EscapeOutput.OutputNotEscaped
		echo '<p>' . esc_html__( 'If only a link is shown, your browser cannot reach the service.', 'currency-ticker' ) . '</p>';
		echo '<h2>' . esc_html__( 'Use', 'currency-ticker' ) . '</h2><p>';
		esc_html_e( 'Add the block “Currency Ticker” to a post, or one of these lines:', 'currency-ticker' );
		echo '</p><p><code>[currency_ticker currencies="usd,eur" layout="list"]</code></p>';
		echo '<p><code>' . esc_html( service_url() . '/embed?currencies=usd,eur' ) . '</code></p>';
	}
	echo '</div>';
}
