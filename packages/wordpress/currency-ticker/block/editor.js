// The block in the editor: its options, and a preview by the element that visitors see. Plain JavaScript, without a
// build step.
( function ( { blocks, blockEditor, components, element, i18n }, { script, lang, settings } ) {
	const { createElement: el, useEffect, useRef } = element;
	const { __ } = i18n;
	const { CheckboxControl, Disabled, Notice, PanelBody, Placeholder, RangeControl, SelectControl, TextControl, ToggleControl } = components;
	const TEXTS = [ 'ticker', 'currencies', 'lang', 'theme', 'layout', 'show', 'period' ];
	const COLOURS = [ 'surface', 'ink', 'up', 'down' ];
	const UNITS = { size: 'px', radius: 'px', speed: 's' };
	const FAMILIES = { serif: 'Georgia,serif', mono: 'ui-monospace,monospace' };
	const VALUES = [ 'rate', 'buy', 'sell', 'change', 'percent' ];
	const words = ( text ) => text.toLowerCase().split( /[\s,]+/ ).filter( Boolean );
	// Newer versions of WordPress use these sizes for all controls, and report controls without these options.
	const newSizes = { __nextHasNoMarginBottom: true, __next40pxDefaultSize: true };

	// A colour as #rrggbb, which is all that the service knows. Palettes of themes have other notations too; undefined
	// for one that is not opaque, or a variable.
	function hex( colour ) {
		const context = document.createElement( 'canvas' ).getContext( '2d' );
		// An unknown colour changes nothing.
		const tried = [ '#000000', '#ffffff' ].map( ( start ) => {
			context.fillStyle = start;
			context.fillStyle = colour;
			return context.fillStyle;
		} );
		return tried[ 0 ] === tried[ 1 ] && /^#[0-9a-f]{6}$/.test( tried[ 0 ] ) ? tried[ 0 ] : undefined;
	}

	// Contrast of two colours (WCAG 2.2).
	function contrast( colour, other ) {
		const luminance = ( text ) => {
			const [ red, green, blue ] = text
				.match( /[0-9a-f]{2}/gi )
				.map( ( pair ) => parseInt( pair, 16 ) / 255 )
				.map( ( value ) => ( value <= 0.04045 ? value / 12.92 : ( ( value + 0.055 ) / 1.055 ) ** 2.4 ) );
			return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
		};
		const [ dark, light ] = [ luminance( colour ), luminance( other ) ].sort( ( one, two ) => one - two );
		return ( light + 0.05 ) / ( dark + 0.05 );
	}

	// The colours of a block as #rrggbb. One that was written by hand may lack the #; the plugin leaves out all others.
	function coloursOf( attributes ) {
		const valid = COLOURS.map( ( name ) => [ name, /^#?([0-9a-f]{6})$/i.exec( attributes[ name ] ) ] ).filter( ( [ , found ] ) => found );
		return Object.fromEntries( valid.map( ( [ name, found ] ) => [ name, `#${ found[ 1 ] }` ] ) );
	}

	// The custom properties of the element, as custom_properties() of the plugin gives them to visitors.
	function customProperties( attributes ) {
		const values = coloursOf( attributes );
		const { surface, ink } = values;
		if ( surface && ink ) {
			values.soft = `color-mix(in srgb,${ ink } 75%,${ surface })`;
			values.line = `color-mix(in srgb,${ ink } 15%,${ surface })`;
			values.warn = ink;
		}
		values.family = FAMILIES[ attributes.font ];
		for ( const name in UNITS ) if ( attributes[ name ] !== undefined ) values[ name ] = attributes[ name ] + UNITS[ name ];
		return Object.fromEntries( Object.entries( values ).map( ( [ name, value ] ) => [ `--ticker-${ name }`, value ] ) );
	}

	function Preview( { attributes } ) {
		const box = useRef();
		useEffect( () => {
			// The editor may show the block in a frame: the script has to run in the document of the block.
			const { ownerDocument } = box.current;
			if ( ! ownerDocument.getElementById( 'currency-ticker-preview' ) ) {
				const node = ownerDocument.createElement( 'script' );
				Object.assign( node, { id: 'currency-ticker-preview', type: 'module', src: script } );
				ownerDocument.head.append( node );
			}
		}, [] );
		const given = { lang, style: customProperties( attributes ) };
		for ( const name of TEXTS ) if ( attributes[ name ] ) given[ name ] = attributes[ name ];
		for ( const name of [ 'spark', 'live' ] ) if ( attributes[ name ] ) given[ name ] = '';
		return el( 'div', { ref: box }, el( 'currency-ticker', given ) );
	}

	function Controls( { attributes, setAttributes } ) {
		const common = ( name, label, help ) => ( {
			...newSizes,
			key: name,
			label,
			help,
			onChange: ( value ) => setAttributes( { [ name ]: value } ),
		} );
		const text = ( name, label, help ) => el( TextControl, { ...common( name, label, help ), value: attributes[ name ] } );
		const choice = ( name, label, options ) =>
			el( SelectControl, { ...common( name, label ), value: attributes[ name ], options } );
		const flag = ( name, label, help ) =>
			el( ToggleControl, { ...common( name, label, help ), checked: attributes[ name ] } );
		const shown = words( attributes.show );
		const labels = {
			rate: __( 'Rate', 'currency-ticker' ),
			buy: __( 'Buying rate', 'currency-ticker' ),
			sell: __( 'Selling rate', 'currency-ticker' ),
			change: __( 'Change', 'currency-ticker' ),
			percent: __( 'Change in percent', 'currency-ticker' ),
		};
		return el(
			PanelBody,
			{ title: __( 'Ticker', 'currency-ticker' ) },
			text( 'currencies', __( 'Currencies', 'currency-ticker' ), __( 'For example usd,eur. Empty: all.', 'currency-ticker' ) ),
			choice( 'layout', __( 'Layout', 'currency-ticker' ), [
				{ value: '', label: __( 'Strip', 'currency-ticker' ) },
				{ value: 'list', label: __( 'List', 'currency-ticker' ) },
				{ value: 'tape', label: __( 'Tape', 'currency-ticker' ) },
			] ),
			choice( 'theme', __( 'Theme', 'currency-ticker' ), [
				{ value: '', label: __( 'Automatic', 'currency-ticker' ) },
				{ value: 'light', label: __( 'Light', 'currency-ticker' ) },
				{ value: 'dark', label: __( 'Dark', 'currency-ticker' ) },
				{ value: 'transparent', label: __( 'Transparent', 'currency-ticker' ) },
				{ value: 'system', label: __( 'As in the visitor’s system', 'currency-ticker' ) },
			] ),
			el(
				'fieldset',
				{ key: 'show', style: { marginBottom: 24 } },
				el( 'legend', { style: { marginBottom: 8 } }, __( 'Values (none: those of the layout)', 'currency-ticker' ) ),
				...VALUES.map( ( name ) =>
					el( CheckboxControl, {
						...newSizes,
						key: name,
						label: labels[ name ],
						checked: shown.includes( name ),
						onChange: ( checked ) =>
							setAttributes( {
								show: VALUES.filter( ( value ) => ( value === name ? checked : shown.includes( value ) ) ).join( ',' ),
							} ),
					} )
				)
			),
			choice( 'period', __( 'Period of the change', 'currency-ticker' ), [
				{ value: '', label: __( 'Day', 'currency-ticker' ) },
				{ value: 'week', label: __( 'Week', 'currency-ticker' ) },
				{ value: 'month', label: __( 'Month', 'currency-ticker' ) },
				{ value: 'year', label: __( 'Year', 'currency-ticker' ) },
				{ value: 'ytd', label: __( 'Year to date', 'currency-ticker' ) },
			] ),
			flag( 'spark', __( 'Sparklines', 'currency-ticker' ), __( 'In a list.', 'currency-ticker' ) ),
			flag( 'live', __( 'Live updates', 'currency-ticker' ) ),
			text( 'lang', __( 'Language', 'currency-ticker' ), __( 'For example kk. Empty: that of the page.', 'currency-ticker' ) ),
			text( 'ticker', __( 'Ticker', 'currency-ticker' ), __( 'Its id in the service. Empty: the first.', 'currency-ticker' ) )
		);
	}

	// The panel of colours that blocks of WordPress have, with the palette of the theme.
	function Colours( { attributes, setAttributes } ) {
		const labels = {
			surface: __( 'Background', 'currency-ticker' ),
			ink: __( 'Text', 'currency-ticker' ),
			up: __( 'Rise', 'currency-ticker' ),
			down: __( 'Fall', 'currency-ticker' ),
		};
		const { surface, ...others } = coloursOf( attributes );
		const low = Object.keys( others ).filter( ( name ) => surface && contrast( others[ name ], surface ) < 4.5 );
		return el(
			blockEditor.PanelColorSettings,
			{
				title: __( 'Colours', 'currency-ticker' ),
				colorSettings: COLOURS.map( ( name ) => ( {
					label: labels[ name ],
					value: attributes[ name ],
					onChange: ( value ) => setAttributes( { [ name ]: value && hex( value ) } ),
				} ) ),
			},
			low.length > 0 &&
				el(
					Notice,
					{ status: 'warning', isDismissible: false },
					__( 'Low contrast. Use at least 4.5 to 1 against the background:', 'currency-ticker' ),
					' ',
					low.map( ( name ) => labels[ name ] ).join( ', ' )
				)
		);
	}

	function Typography( { attributes, setAttributes } ) {
		const range = ( name, label, min, max, initialPosition ) =>
			el( RangeControl, {
				...newSizes,
				key: name,
				label,
				min,
				max,
				initialPosition,
				allowReset: true,
				value: attributes[ name ],
				onChange: ( value ) => setAttributes( { [ name ]: value } ),
			} );
		return el(
			PanelBody,
			{ title: __( 'Size and font', 'currency-ticker' ), initialOpen: false },
			range( 'size', __( 'Text size in pixels', 'currency-ticker' ), 12, 24, 15 ),
			range( 'radius', __( 'Corner radius in pixels', 'currency-ticker' ), 0, 24, attributes.layout === 'list' ? 12 : 8 ),
			el( SelectControl, {
				...newSizes,
				key: 'font',
				label: __( 'Font', 'currency-ticker' ),
				value: attributes.font,
				options: [
					{ value: '', label: __( 'System', 'currency-ticker' ) },
					{ value: 'serif', label: __( 'Serif', 'currency-ticker' ) },
					{ value: 'mono', label: __( 'Monospace', 'currency-ticker' ) },
				],
				onChange: ( font ) => setAttributes( { font } ),
			} ),
			attributes.layout === 'tape' && range( 'speed', __( 'Duration of one round in seconds', 'currency-ticker' ), 10, 120, 30 )
		);
	}

	function Missing() {
		return el(
			Placeholder,
			{
				icon: 'money-alt',
				label: __( 'Currency Ticker', 'currency-ticker' ),
				instructions: __( 'The URL of the service is not set yet. An administrator can set it.', 'currency-ticker' ),
			},
			settings && el( 'a', { href: settings, target: '_blank' }, __( 'Settings', 'currency-ticker' ) )
		);
	}

	blocks.registerBlockType( 'currency-ticker/ticker', {
		edit( props ) {
			const frame = blockEditor.useBlockProps();
			if ( ! script ) return el( 'div', frame, el( Missing ) );
			return el(
				'div',
				frame,
				el( blockEditor.InspectorControls, null, el( Controls, props ), el( Colours, props ), el( Typography, props ) ),
				el( Disabled, null, el( Preview, props ) )
			);
		},
		// The server renders the block.
		save: () => null,
	} );
} )( window.wp, window.currencyTicker || {} );
