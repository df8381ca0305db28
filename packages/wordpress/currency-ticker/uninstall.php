<?php
/**
 * Remove the setting when the plugin is deleted, from every site of a network.
 *
 * @package Currency_Ticker
 */

defined( 'WP_UNINSTALL_PLUGIN' ) || exit;

delete_option( 'currency_ticker_url' );

if ( is_multisite() ) {
	$currency_ticker_sites = get_sites(
		array(
			'fields' => 'ids',
			'number' => 0,
		)
	);
	foreach ( $currency_ticker_sites as $currency_ticker_site ) {
		delete_blog_option( $currency_ticker_site, 'currency_ticker_url' );
	}
}
